// A program that calls a model through its kit's typed class, and where that has no method for a function, through the C
// interface: answers what `pipeline/runners/wire.py` describes. Its argument is the prefix of the model. Arguments that are
// parameters are left to the kit, which has them from the bundle; a model without any is loaded at once.
#include HEADER
#include TYPED

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <deque>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

#define JOINED_(a, b, c) a##b##c
#define JOINED(a, b, c) JOINED_(a, b, c)
#define KIT(name) JOINED(slipway_, PRODUCT, name)
#define TEXT_(...) #__VA_ARGS__
#define TEXT(name) TEXT_(name)

namespace {

using Value = KIT(_value);
using Call = std::function<int32_t(const std::vector<Value>&, Value*)>;
constexpr int32_t kRoom = 4096;

// When the last call began and ended, and what a typed one gave.
std::chrono::steady_clock::time_point began, ended;
std::shared_ptr<void> given_back;

template <class Body>
auto timed(Body body) {
  struct Clock {
    Clock() { began = std::chrono::steady_clock::now(); }
    ~Clock() { ended = std::chrono::steady_clock::now(); }
  } clock;
  return body();
}

#ifdef CALLS
namespace typed = NAMESPACE;

template <class T, size_t Rank>
void take(const Value& from, typed::tensor<T, Rank>* out) {
  if (from.kind != KIT(_tensor) || from.rank != static_cast<int32_t>(Rank))
    throw std::runtime_error("its class takes a tensor of " + std::to_string(Rank) + " dimensions for another argument");
  std::copy_n(from.shape, Rank, out->shape.begin());
  out->values.resize(from.size / sizeof(T));
  if (from.size > 0) std::memcpy(static_cast<void*>(out->values.data()), from.data, out->values.size() * sizeof(T));
}
template <size_t Rank>
void take(const Value& from, std::array<int64_t, Rank>* out) {
  if (from.kind != KIT(_shape) || from.rank != static_cast<int32_t>(Rank))
    throw std::runtime_error("its class takes a shape of " + std::to_string(Rank) + " extents for another argument");
  std::copy_n(from.shape, Rank, out->begin());
}
template <class T>
std::enable_if_t<std::is_arithmetic_v<T>> take(const Value& from, T* out) {
  if (from.kind != (std::is_integral_v<T> ? KIT(_int) : KIT(_float)))
    throw std::runtime_error("its class takes a number for another argument");
  *out = std::is_integral_v<T> ? static_cast<T>(from.integer) : static_cast<T>(from.real);
}

// Each has one owner, which is never destroyed.
std::map<void*, typed::object>& objects() {
  static auto& all = *new std::map<void*, typed::object>;
  return all;
}
void take(const Value& from, typed::object* out) {
  if (from.kind != KIT(_object)) throw std::runtime_error("its class takes an object for another argument");
  *out = objects().try_emplace(from.handle, from).first->second;
}

template <class T>
T taken(const Value& from) {
  T out{};
  take(from, &out);
  return out;
}

template <class T>
const char* dtype() {
  if (std::is_same_v<T, typed::float16>) return "float16";
  if (std::is_same_v<T, typed::bfloat16>) return "bfloat16";
  if (std::is_same_v<T, typed::bool8>) return "bool";
  static const std::string name = (std::is_floating_point_v<T> ? "float" : std::is_signed_v<T> ? "int" : "uint") + std::to_string(8 * sizeof(T));
  return name.c_str();
}

template <class T, size_t Rank>
Value value_of(const typed::tensor<T, Rank>& one) {
  Value out{};
  out.kind = KIT(_tensor), out.rank = Rank, out.shape = one.shape.data(), out.dtype = dtype<T>();
  out.data = one.values.data(), out.size = one.values.size() * sizeof(T);
  return out;
}
template <class T>
std::enable_if_t<std::is_arithmetic_v<T>, Value> value_of(T one) {
  Value out{};
  out.kind = std::is_integral_v<T> ? KIT(_int) : KIT(_float), out.integer = static_cast<int64_t>(one), out.real = static_cast<double>(one);
  return out;
}
Value value_of(const typed::object& one) { return objects().emplace(one.value().handle, one).first->second.value(); }

template <class... Results>
std::tuple<Results...> listed(std::tuple<Results...> made) { return made; }
template <class Result>
std::tuple<Result> listed(Result made) { return {std::move(made)}; }

// A method as a function of values like those of the C interface.
template <class Model, class Result, class... Given>
Call method(std::shared_ptr<Model> model, Result (Model::*call)(Given...) const) {
  return [model, call](const std::vector<Value>& given, Value* results) -> int32_t {
    if (given.size() != sizeof...(Given)) throw std::runtime_error("its class takes " + std::to_string(sizeof...(Given)) + " arguments");
    size_t next = 0;
    const std::tuple<std::decay_t<Given>...> arguments{taken<std::decay_t<Given>>(given[next++])...};
    const auto run = [&] { return std::apply([&](const auto&... one) { return (model.get()->*call)(one...); }, arguments); };
    if constexpr (std::is_void_v<Result>) {
      timed(run);
    } else {
      const auto made = std::make_shared<decltype(listed(run()))>(listed(timed(run)));
      std::apply([&](const auto&... one) { ((*results++ = value_of(one)), ...); }, *made);
      given_back = made;
      return std::tuple_size_v<decltype(listed(run()))>;
    }
    return 0;
  };
}

template <class Model>
std::shared_ptr<Model> opened(const std::string& bundle) {
  if constexpr (std::is_default_constructible_v<Model>) return std::make_shared<Model>();
  else return std::make_shared<Model>(bundle);
}
#endif

// The methods of a model's class by the names of their functions; none of a model without a class.
std::map<std::string, Call> methods(const std::string& prefix, const std::string& bundle) {
  std::map<std::string, Call> found;
#ifdef CALLS
#include "calls.inc"
#endif
  return found;
}

// What an argument points to.
struct Owned {
  std::vector<int64_t> shape;
  std::string dtype, data;
};

class Program {
 public:
  explicit Program(const char* prefix) : prefix_(prefix) {
    try {
      open("");
    } catch (const std::exception&) {  // with its parameters, or at its first call, it says why
    }
  }
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
      const int32_t made = run(verb, name, arguments, results.data());
      if (made < 0) throw std::runtime_error(KIT(_error)());
      if (made > kRoom) throw std::runtime_error(std::to_string(made) + " results are too many");
      std::cout << "done " << std::chrono::duration_cast<std::chrono::nanoseconds>(ended - began).count() << "\n";
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
    if (verb == "parameters") return timed([&] { return open(static_cast<const char*>(given.at(0).data)), 0; });
    if (verb == "runtime") return timed([&] { return KIT(_runtime)(name.c_str(), given.data(), count, results, kRoom); });
    if (model_ == nullptr && methods_.empty()) open("");
    if (const auto found = methods_.find(name); found != methods_.end()) try {
        return found->second(given, results);
      } catch (const std::exception& error) {
        throw std::runtime_error(std::string(TEXT(TYPED) ": ") + error.what());
      }
    if (model_ == nullptr) open_untyped();
    return timed([&] { return KIT(_call)(model_, name.c_str(), given.data(), count, results, kRoom); });
  }

  void open(const char* bundle) {
    close();
    bundle_ = bundle;
    methods_ = methods(prefix_, bundle_);
    if (methods_.empty()) open_untyped();
  }

  void open_untyped() {
    model_ = KIT(_open)(prefix_, bundle_.c_str());
    if (model_ == nullptr) throw std::runtime_error(KIT(_error)());
  }

  void close() {
    if (model_ != nullptr) KIT(_close)(model_);
    model_ = nullptr;
    methods_.clear();
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
  std::string bundle_;
  std::map<std::string, Call> methods_;
  KIT(_model)* model_ = nullptr;
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
