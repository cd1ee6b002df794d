#include "cli/log.h"

#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <spdlog/spdlog.h>
#include <syslog.h>

namespace cachefs::cli {
namespace {

/// The message without what stands between single quotes.
std::string kind_of(std::string_view message) {
  std::string kind;
  bool quoted = false;
  for (const char c : message) {
    if (c == '\'') quoted = !quoted;
    if (!quoted) kind += c;
  }
  return kind;
}

std::shared_ptr<spdlog::sinks::sink> sink_of(LogTarget target) {
  if (target == LogTarget::standard_error) {
    auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    sink->set_pattern("cachefs: %l: %v");
    return sink;
  }
  constexpr bool kFormatted = false;  // the system's log adds time and level itself
  return std::make_shared<spdlog::sinks::syslog_sink_mt>("cachefs", LOG_PID, LOG_DAEMON, kFormatted);
}

}  // namespace

void log_to(LogTarget target) {
  auto sink = std::make_shared<CalmSink>(sink_of(target), Clock::system());
  auto logger = std::make_shared<spdlog::logger>("cachefs", std::move(sink));
  logger->set_level(spdlog::level::warn);
  spdlog::set_default_logger(std::move(logger));
}

std::optional<uint64_t> FloodGate::let_through(std::string_view message) {
  std::string name = kind_of(message);
  if (kinds_.size() >= kKindsMax && !kinds_.contains(name)) name.clear();
  const MonotonicTime now = clock_.now();
  const auto [kind, is_new] = kinds_.try_emplace(std::move(name), Kind{.heard = now});
  if (!is_new && now - kind->second.heard < kPeriod) {
    ++kind->second.held_back;
    return std::nullopt;
  }
  kind->second.heard = now;
  return std::exchange(kind->second.held_back, 0);
}

void CalmSink::log(const spdlog::details::log_msg& message) {
  std::optional<uint64_t> held_back;
  {
    const MutexLock lock(mutex_);
    held_back = gate_.let_through({message.payload.data(), message.payload.size()});
  }
  if (!held_back) return;
  if (*held_back == 0) return target_->log(message);
  const std::string text =
      fmt::format("{} (and {} more like it before)",
                  std::string_view(message.payload.data(), message.payload.size()), *held_back);
  spdlog::details::log_msg counted = message;
  counted.payload = text;
  target_->log(counted);
}

}  // namespace cachefs::cli
