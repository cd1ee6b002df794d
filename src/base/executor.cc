#include "base/executor.h"

#include <algorithm>
#include <system_error>
#include <utility>

namespace cachefs {

Executor::Executor(uint32_t max_threads)
    : max_threads_(std::max<uint32_t>(max_threads, kOperationClassCount)),
      share_(std::max<uint32_t>(max_threads_ / 8, 1)) {}

Executor::~Executor() {
  drain();
  std::vector<std::thread> threads;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    threads.swap(threads_);
  }
  work_waits_.notify_all();
  for (std::thread& thread : threads) thread.join();
}

void Executor::submit(OperationClass operation_class, Task task) {
  {
    MutexLock lock(mutex_);
    // A thread that waits may have been woken already for an earlier task: there must be one for each task
    // that is queued.
    const bool wants_thread = queued_ + 1 > waiting_threads_ && threads_.size() < max_threads_;
    const bool has_thread = !wants_thread || start_thread() || !threads_.empty();
    if (has_thread) {
      classes_[static_cast<size_t>(operation_class)].queue.push_back(std::move(task));
      ++queued_;
      work_waits_.notify_one();
      return;
    }
  }
  task();
}

bool Executor::start_thread() {
  try {
    threads_.emplace_back([this] { work(); });
    return true;
  } catch (const std::system_error&) {
    return false;  // the threads that there are get to the task later
  }
}

void Executor::drain() {
  MutexLock lock(mutex_);
  while (!idle()) became_idle_.wait(mutex_);
}

Executor::Load Executor::load(OperationClass operation_class) const {
  MutexLock lock(mutex_);
  const ClassState& state = classes_[static_cast<size_t>(operation_class)];
  return {.queued = static_cast<uint32_t>(state.queue.size()), .running = state.running};
}

void Executor::work() {
  mutex_.lock();
  while (!stopping_) {
    ClassState* const state = next_runnable();
    if (state == nullptr) {
      ++waiting_threads_;
      work_waits_.wait(mutex_);
      --waiting_threads_;
      continue;
    }
    Task task = std::move(state->queue.front());
    state->queue.pop_front();
    --queued_;
    ++state->running;
    mutex_.unlock();
    task();
    task = nullptr;  // what it holds may take long to free, and may submit more
    mutex_.lock();
    --state->running;
    if (idle()) became_idle_.notify_all();
  }
  mutex_.unlock();
}

Executor::ClassState* Executor::next_runnable() {
  for (size_t i = 0; i < kOperationClassCount; ++i) {
    ClassState& state = classes_[(next_class_ + i) % kOperationClassCount];
    if (state.queue.empty() || !may_run(state)) continue;
    next_class_ = (next_class_ + i + 1) % kOperationClassCount;
    return &state;
  }
  return nullptr;
}

bool Executor::may_run(const ClassState& state) const {
  return state.running < share_ || reserved() < max_threads_;
}

uint32_t Executor::reserved() const {
  uint32_t sum = 0;
  for (const ClassState& state : classes_) sum += std::max(state.running, share_);
  return sum;
}

bool Executor::idle() const {
  return queued_ == 0 &&
         std::ranges::all_of(classes_, [](const ClassState& state) { return state.running == 0; });
}

}  // namespace cachefs
