// A queue of bytes.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>

namespace tvm {
namespace support {

class RingBuffer {
 public:
  size_t bytes_available() const { return held_.size() - at_; }
  void Reserve(size_t size) { held_.reserve(at_ + size); }

  void Write(const void* data, size_t size) { held_.append(static_cast<const char*>(data), size); }
  // The caller has seen to it that there are so many.
  void Read(void* data, size_t size) {
    std::memcpy(data, held_.data() + at_, size);
    Take(size);
  }
  // `send(data, size)` says how many it took.
  template <typename Send>
  size_t ReadWithCallback(Send send, size_t most) {
    size_t taken = send(held_.data() + at_, std::min(most, bytes_available()));
    Take(taken);
    return taken;
  }
  // `receive(data, size)` says how many it gave.
  template <typename Receive>
  size_t WriteWithCallback(Receive receive, size_t most) {
    size_t before = held_.size();
    held_.resize(before + most);
    size_t given = receive(&held_[before], most);
    held_.resize(before + given);
    return given;
  }

 private:
  void Take(size_t size) {
    at_ += size;
    if (at_ == held_.size()) {
      held_.clear();
      at_ = 0;
    } else if (at_ > held_.size() / 2) {
      held_.erase(0, at_);
      at_ = 0;
    }
  }
  std::string held_;
  size_t at_ = 0;
};

}  // namespace support
}  // namespace tvm
