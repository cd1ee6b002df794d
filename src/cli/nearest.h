// "Did you mean ...?"
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace cachefs::cli {

/// The candidate that is fewest edits (insert, drop, replace a character, swap two) away from `word`; empty
/// if none is near: within a third of the word's length, one at least.
std::string nearest(std::string_view word, std::span<const std::string> candidates);

/// " (did you mean 'x'?)" or nothing.
std::string did_you_mean(std::string_view word, std::span<const std::string> candidates);

}  // namespace cachefs::cli
