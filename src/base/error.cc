#include "cachefs/error.h"

namespace cachefs {

Error Error::during(std::string_view doing) const {
  Error error = *this;
  error.doing_ = doing_.empty() ? std::string(doing) : std::string(doing) + ": " + doing_;
  return error;
}

std::string Error::message() const {
  const std::string what = code().message();
  return doing_.empty() ? what : doing_ + ": " + what;
}

}  // namespace cachefs
