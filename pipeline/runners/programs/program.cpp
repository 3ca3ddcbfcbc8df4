// A program that calls a model through its kit's C interface: answers what `pipeline/runners/wire.py` describes. Its
// argument is the prefix of the model. Arguments that are parameters are left to the kit, which has them from the bundle;
// a model without any is loaded at once.
#include HEADER
#ifdef TYPED
#include TYPED
#endif

#include <chrono>
#include <cstdio>
#include <cstring>
#include <deque>
#include <iostream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#define JOINED_(a, b, c) a##b##c
#define JOINED(a, b, c) JOINED_(a, b, c)
#define KIT(name) JOINED(slipway_, PRODUCT, name)

namespace {

using Value = KIT(_value);
constexpr int32_t kRoom = 4096;

// What an argument points to.
struct Owned {
  std::vector<int64_t> shape;
  std::string dtype, data;
};

class Program {
 public:
  explicit Program(const char* prefix) : prefix_(prefix), model_(KIT(_open)(prefix, "")) {}
  ~Program() { close(); }

  bool answer() {
    std::string line;
    if (!std::getline(std::cin, line)) return false;
    std::istringstream words(line);
    std::string verb, name;
    size_t count = 0;
    words >> verb >> name >> count;
    owned_.clear();
    std::vector<Value> arguments;
    for (size_t i = 0; i < count; ++i) read(&arguments);
    try {
      std::vector<Value> results(kRoom);
      const auto begin = std::chrono::steady_clock::now();
      const int32_t made = run(verb, name, arguments, results.data());
      const auto spent = std::chrono::steady_clock::now() - begin;
      if (made < 0) throw std::runtime_error(KIT(_error)());
      if (made > kRoom) throw std::runtime_error(std::to_string(made) + " results are too many");
      std::cout << "done " << std::chrono::duration_cast<std::chrono::nanoseconds>(spent).count() << "\n";
      if (made > 1) std::cout << "array " << made << "\n";
      if (made == 0) std::cout << "none\n";
      for (int32_t i = 0; i < made; ++i) write(results[i]);
    } catch (const std::exception& error) {
      std::cout << "failed " << std::strlen(error.what()) << "\n" << error.what();
    }
    std::cout.flush();
    return true;
  }

 private:
  int32_t run(const std::string& verb, const std::string& name, const std::vector<Value>& given, Value* results) {
    const auto count = static_cast<int32_t>(given.size());
    if (verb == "parameters") {
      open(static_cast<const char*>(given.at(0).data));
      return 0;
    }
    if (verb == "runtime") return KIT(_runtime)(name.c_str(), given.data(), count, results, kRoom);
    if (model_ == nullptr) open("");
    return KIT(_call)(model_, name.c_str(), given.data(), count, results, kRoom);
  }

  void open(const char* bundle) {
    close();
    model_ = KIT(_open)(prefix_, bundle);
    if (model_ == nullptr) throw std::runtime_error(KIT(_error)());
  }

  void close() {
    if (model_ != nullptr) KIT(_close)(model_);
    model_ = nullptr;
  }

  // Reads a value; one that the kit brings itself is not among the arguments.
  void read(std::vector<Value>* out) {
    std::string line, kind;
    std::getline(std::cin, line);
    std::istringstream words(line);
    words >> kind;
    owned_.emplace_back();
    Owned& own = owned_.back();
    Value value{};
    if (kind == "tensor" || kind == "shape") {
      size_t rank = 0;
      if (kind == "tensor") words >> own.dtype;
      words >> rank;
      own.shape.resize(rank);
      for (int64_t& extent : own.shape) words >> extent;
      value.kind = kind == "tensor" ? KIT(_tensor) : KIT(_shape);
      value.rank = static_cast<int32_t>(rank), value.shape = own.shape.data(), value.dtype = own.dtype.c_str();
      if (kind == "tensor") {
        value.size = bytes_of(own);
        value.data = bytes(&own, value.size);
      }
    } else if (kind == "text" || kind == "parameter") {
      size_t size = 0;
      words >> size;
      value.kind = KIT(_text), value.data = bytes(&own, size);
      if (kind == "parameter") return;
    } else if (kind == "array") {
      size_t count = 0;
      words >> count;
      std::vector<Value> items;
      for (size_t i = 0; i < count; ++i) read(&items);
      if (!items.empty()) throw std::runtime_error("a list of something else than parameters");
      return;
    } else if (kind == "held") {
      int64_t number = 0;
      words >> number;
      value.kind = KIT(_object), value.handle = held_.at(number).handle;
    } else if (kind == "int") {
      value.kind = KIT(_int);
      words >> value.integer;
    } else if (kind == "float") {
      value.kind = KIT(_float);
      words >> value.real;
    } else if (kind != "none") {
      throw std::runtime_error("cannot read: " + line);
    }
    out->push_back(value);
  }

  static size_t bytes_of(const Owned& own) {
    const size_t digit = own.dtype.find_first_of("0123456789");
    size_t size = digit == std::string::npos ? 1 : static_cast<size_t>(std::atoi(own.dtype.c_str() + digit)) / 8;
    for (int64_t extent : own.shape) size *= static_cast<size_t>(extent);
    return size;
  }

  static const char* bytes(Owned* own, size_t size) {
    own->data.resize(size);
    std::cin.read(&own->data[0], static_cast<std::streamsize>(size));
    return own->data.c_str();
  }

  void write(Value& value) {
    if (value.kind == KIT(_tensor)) {
      std::cout << "tensor " << value.dtype << " " << value.rank;
      for (int32_t i = 0; i < value.rank; ++i) std::cout << " " << value.shape[i];
      std::cout << "\n";
      std::cout.write(static_cast<const char*>(value.data), static_cast<std::streamsize>(value.size));
    } else if (value.kind == KIT(_int)) {
      std::cout << "int " << value.integer << "\n";
    } else if (value.kind == KIT(_float)) {
      std::cout << "float " << value.real << "\n";
    } else if (value.kind == KIT(_none)) {
      std::cout << "none\n";
    } else {
      held_[next_] = value;
      std::cout << "held " << next_++ << "\n";
      return;
    }
    KIT(_release)(&value, 1);
  }

  const char* prefix_;
  KIT(_model)* model_;
  std::deque<Owned> owned_;
  std::map<int64_t, Value> held_;
  int64_t next_ = 1;
};

}  // namespace

int main(int, char** argv) {
  std::ios::sync_with_stdio(false);
  Program program(argv[1]);
  std::cout << "ready 1 0\n" << std::flush;
  while (program.answer()) {
  }
}
