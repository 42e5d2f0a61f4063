#include "io/pickle.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "io/limits.h"
#include "io/report.h"

namespace ratel::io {
namespace {

using std::string_view;

/// What is done with an opcode, and at the same time the whole table: what has no row here is refused.
enum class Op : uint8_t {
  mark = '(',
  stop = '.',
  pop = '0',
  pop_mark = '1',
  dup = '2',
  bin_float = 'G',
  bin_int = 'J',
  bin_int1 = 'K',
  bin_int2 = 'M',
  none = 'N',
  bin_pers_id = 'Q',
  reduce = 'R',
  bin_string = 'T',
  short_bin_string = 'U',
  bin_unicode = 'X',
  bin_bytes = 'B',
  short_bin_bytes = 'C',
  append = 'a',
  build = 'b',
  global = 'c',
  appends = 'e',
  bin_get = 'h',
  long_bin_get = 'j',
  bin_put = 'q',
  long_bin_put = 'r',
  set_item = 's',
  tuple = 't',
  set_items = 'u',
  empty_dict = '}',
  empty_list = ']',
  empty_tuple = ')',
  proto = 0x80,
  new_obj = 0x81,
  tuple1 = 0x85,
  tuple2 = 0x86,
  tuple3 = 0x87,
  new_true = 0x88,
  new_false = 0x89,
  long1 = 0x8a,
  long4 = 0x8b,
  short_bin_unicode = 0x8c,
  bin_unicode8 = 0x8d,
  bin_bytes8 = 0x8e,
  empty_set = 0x8f,
  add_items = 0x90,
  frozen_set = 0x91,
  new_obj_ex = 0x92,
  stack_global = 0x93,
  memoize = 0x94,
  frame = 0x95,
  byte_array8 = 0x96,
};

/// Opcodes that are known and not read, for the message.
constexpr std::array<std::pair<unsigned char, string_view>, 17> kRefused{
    {{'F', "FLOAT of protocol 0"},
     {'I', "INT of protocol 0"},
     {'L', "LONG of protocol 0"},
     {'P', "PERSID of protocol 0"},
     {'S', "STRING of protocol 0"},
     {'V', "UNICODE of protocol 0"},
     {'d', "DICT of protocol 0"},
     {'g', "GET of protocol 0"},
     {'i', "INST of protocol 0"},
     {'l', "LIST of protocol 0"},
     {'o', "OBJ of protocol 1"},
     {'p', "PUT of protocol 0"},
     {0x82, "EXT1, of an extension registry"},
     {0x83, "EXT2, of an extension registry"},
     {0x84, "EXT4, of an extension registry"},
     {0x97, "NEXT_BUFFER, of data elsewhere"},
     {0x98, "READONLY_BUFFER, of data elsewhere"}}};

// Values that are the same wherever they appear.
constexpr PickleRef kNone = 0, kTrue = 1, kFalse = 2, kEmptyTuple = 3;

}  // namespace

/// The stack machine. It appends nodes and never calls anything.
class PickleMachine {
 public:
  PickleMachine(std::span<const std::byte> bytes, string_view path, uint64_t start)
      : text_(reinterpret_cast<const char*>(bytes.data()), bytes.size()), path_(path), start_(start) {}

  Pickle run() {
    if (text_.size() > kPickleBytes)
      fail_at(path_, start_, "pickle too long; expected at most ", kPickleBytes, " bytes, found ", text_.size());
    for (const PickleKind kind : {PickleKind::none, PickleKind::boolean, PickleKind::boolean, PickleKind::tuple})
      add(kind);
    nodes()[kTrue].integer = 1;
    result_.text_ = text_;
    if (text_.empty() || text_[0] != static_cast<char>(Op::proto))
      refuse("expected a pickle of protocol 2 to 5, which begins with byte 0x80, found ",
             in_quotes(text_.substr(0, 1)));
    for (size_t count = 0;; ++count) {
      op_ = at_;
      if (count == kPickleOpcodes) refuse("too many opcodes; expected at most ", kPickleOpcodes, ", found more");
      if (at_ == text_.size()) refuse("the pickle ends without STOP");
      const auto code = static_cast<unsigned char>(text_[at_++]);
      if (static_cast<Op>(code) == Op::stop) return finish();
      step(static_cast<Op>(code), code);
    }
  }

 private:
  template <class... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    fail_at(path_, start_ + op_, parts...);
  }
  std::vector<PickleNode>& nodes() { return result_.nodes_; }

  // ---- the bytes that follow an opcode

  string_view take(uint64_t length, string_view what) {
    if (length > text_.size() - at_)
      refuse(what, " reaches beyond the pickle; expected ", length, " bytes, found ", text_.size() - at_);
    const string_view bytes = text_.substr(at_, static_cast<size_t>(length));
    at_ += bytes.size();
    return bytes;
  }
  template <class T>
  T number(string_view what) {
    T value;
    std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
    return value;
  }
  string_view line(string_view what) {
    const size_t end = text_.find('\n', at_);
    if (end == string_view::npos) refuse(what, " has no end of line");
    const string_view found = text_.substr(at_, end - at_);
    at_ = end + 1;
    return found;
  }

  // ---- nodes, stack, marks, memo

  PickleRef add(PickleKind kind) {
    if (nodes().size() == kPickleNodes) refuse("too many values; expected at most ", kPickleNodes, ", found more");
    PickleNode node;
    node.kind = kind;
    node.offset = static_cast<uint32_t>(op_);
    nodes().push_back(std::move(node));
    return static_cast<PickleRef>(nodes().size() - 1);
  }
  void push(PickleRef ref) { stack_.push_back(ref); }
  void push_text(PickleKind kind, string_view text) {
    const PickleRef ref = add(kind);
    nodes()[ref].text = text;
    push(ref);
  }
  void push_integer(int64_t value) {
    const PickleRef ref = add(PickleKind::integer);
    nodes()[ref].integer = value;
    push(ref);
  }
  void push_long(string_view bytes) {
    if (bytes.size() > sizeof(int64_t)) return push_text(PickleKind::long_integer, bytes);
    uint64_t value = !bytes.empty() && (static_cast<unsigned char>(bytes.back()) & 0x80u) != 0 ? UINT64_MAX : 0;
    for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
    push_integer(static_cast<int64_t>(value));
  }
  [[nodiscard]] size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  PickleRef pop() {
    if (stack_.size() <= floor()) refuse("expected a value on the stack, found ", marks_.empty() ? "none" : "a mark");
    const PickleRef ref = stack_.back();
    stack_.pop_back();
    return ref;
  }
  PickleRef top() {
    const PickleRef ref = pop();
    push(ref);
    return ref;
  }
  /// What lies above the last mark, which goes away with it.
  std::vector<PickleRef> pop_to_mark() {
    if (marks_.empty()) refuse("expected a mark on the stack, found none");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<PickleRef> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return items;
  }
  void put_inside(PickleRef container, PickleRef item) {
    PickleNode& into = nodes()[container];
    const size_t depth = size_t{nodes()[item].depth} + 1;
    if (depth > kPickleDepth)
      refuse("values too deep inside one another; expected at most ", kPickleDepth, ", found more");
    into.depth = std::max(into.depth, static_cast<uint16_t>(depth));
    into.children.push_back(item);
  }
  void push_tuple(const std::vector<PickleRef>& items, PickleKind kind = PickleKind::tuple) {
    const PickleRef ref = add(kind);
    nodes()[ref].children.reserve(items.size());
    for (const PickleRef item : items) put_inside(ref, item);
    push(ref);
  }
  void append(PickleRef list, const std::vector<PickleRef>& items, PickleKind kind) {
    const PickleNode& node = nodes()[list];
    if (node.kind != kind && node.kind != PickleKind::object)
      refuse("expected a ", name_of(kind), " to add to, found ", result_.described(list));
    if (node.has_pairs) refuse("an object that has pairs is given elements");
    for (const PickleRef item : items) put_inside(list, item);
  }
  void set_items(PickleRef dict, const std::vector<PickleRef>& items) {
    if (items.size() % 2 != 0) refuse("expected keys and values in pairs, found ", items.size(), " values");
    PickleNode& node = nodes()[dict];
    if (node.kind == PickleKind::object) {
      if (!node.has_pairs && node.children.size() > Pickle::elements)
        refuse("an object that has elements is given pairs");
      node.has_pairs = true;
    } else if (node.kind != PickleKind::dict) {
      refuse("expected a dict to add to, found ", result_.described(dict));
    }
    for (const PickleRef item : items) put_inside(dict, item);
  }
  void push_global(string_view module, string_view name) {
    const PickleRef ref = add(PickleKind::global);
    nodes()[ref].text = name;
    // Both lie below 2^32: kPickleBytes.
    nodes()[ref].integer =
        static_cast<int64_t>(static_cast<uint64_t>(module.data() - text_.data()) << 32 | module.size());
    push(ref);
  }
  void push_call(PickleRef callable, PickleRef arguments) {
    const PickleKind kind = nodes()[callable].kind;
    if (kind != PickleKind::global && kind != PickleKind::object)
      refuse("expected a class or function to call, found ", result_.described(callable));
    if (nodes()[arguments].kind != PickleKind::tuple)
      refuse("expected a tuple of arguments, found ", result_.described(arguments));
    const PickleRef ref = add(PickleKind::object);
    for (const PickleRef part : {callable, arguments, kNone}) put_inside(ref, part);
    push(ref);
  }
  void memoize(uint64_t index) {
    if (index > memo_.size())
      refuse("the memo leaves out places; expected one up to ", memo_.size(), ", found ", index);
    const PickleRef ref = top();
    if (index == memo_.size())
      memo_.push_back(ref);
    else
      memo_[static_cast<size_t>(index)] = ref;
  }
  void recall(uint64_t index) {
    if (index >= memo_.size()) refuse("expected a place of the memo below ", memo_.size(), ", found ", index);
    push(memo_[static_cast<size_t>(index)]);
  }

  void step(Op op, unsigned char code);
  void step_of_objects(Op op, unsigned char code);

  Pickle finish() {
    if (!marks_.empty() || stack_.size() != 1)
      refuse("expected one value at STOP, found ", stack_.size(), " and ", marks_.size(), " marks");
    if (at_ != text_.size()) {
      op_ = at_;
      refuse("bytes after STOP; expected a pickle of ", at_, " bytes, found ", text_.size());
    }
    result_.root_ = stack_.back();
    return std::move(result_);
  }

  string_view text_, path_;
  uint64_t start_;
  size_t at_ = 0, op_ = 0;  // the next byte, and the opcode being run
  Pickle result_;
  std::vector<PickleRef> stack_, memo_;
  std::vector<size_t> marks_;
};

void PickleMachine::step(Op op, unsigned char code) {
  switch (op) {
    case Op::proto: {
      const auto version = number<uint8_t>("PROTO");
      if (op_ != 0) refuse("PROTO inside a pickle");
      if (version < 2 || version > 5) refuse("expected a pickle of protocol 2 to 5, found ", int{version});
      return;
    }
    case Op::frame:
      if (const auto length = number<uint64_t>("FRAME"); length > text_.size() - at_)
        refuse("FRAME reaches beyond the pickle; expected ", length, " bytes, found ", text_.size() - at_);
      return;
    case Op::mark:
      if (marks_.size() == kPickleDepth)
        refuse("too many marks inside one another; expected at most ", kPickleDepth, ", found more");
      marks_.push_back(stack_.size());
      return;
    case Op::pop:
      if (!marks_.empty() && marks_.back() == stack_.size())
        marks_.pop_back();
      else
        pop();
      return;
    case Op::pop_mark: pop_to_mark(); return;
    case Op::dup: push(top()); return;
    case Op::none: push(kNone); return;
    case Op::new_true: push(kTrue); return;
    case Op::new_false: push(kFalse); return;
    case Op::bin_int: push_integer(number<int32_t>("BININT")); return;
    case Op::bin_int1: push_integer(number<uint8_t>("BININT1")); return;
    case Op::bin_int2: push_integer(number<uint16_t>("BININT2")); return;
    case Op::long1: push_long(take(number<uint8_t>("LONG1"), "LONG1")); return;
    case Op::long4: {
      const auto length = number<int32_t>("LONG4");
      if (length < 0) refuse("LONG4; expected a length of at least 0, found ", length);
      push_long(take(static_cast<uint64_t>(length), "LONG4"));
      return;
    }
    case Op::bin_float: {
      uint64_t bits = 0;  // big-endian, unlike all others
      for (const char byte : take(8, "BINFLOAT")) bits = bits << 8 | static_cast<unsigned char>(byte);
      const PickleRef ref = add(PickleKind::real);
      nodes()[ref].real = std::bit_cast<double>(bits);
      push(ref);
      return;
    }
    case Op::bin_string: {
      const auto length = number<int32_t>("BINSTRING");
      if (length < 0) refuse("BINSTRING; expected a length of at least 0, found ", length);
      push_text(PickleKind::text, take(static_cast<uint64_t>(length), "BINSTRING"));
      return;
    }
    case Op::short_bin_string:
      push_text(PickleKind::text, take(number<uint8_t>("SHORT_BINSTRING"), "SHORT_BINSTRING"));
      return;
    case Op::short_bin_unicode:
      push_text(PickleKind::text, take(number<uint8_t>("SHORT_BINUNICODE"), "SHORT_BINUNICODE"));
      return;
    case Op::bin_unicode: push_text(PickleKind::text, take(number<uint32_t>("BINUNICODE"), "BINUNICODE")); return;
    case Op::bin_unicode8: push_text(PickleKind::text, take(number<uint64_t>("BINUNICODE8"), "BINUNICODE8")); return;
    case Op::short_bin_bytes:
      push_text(PickleKind::bytes, take(number<uint8_t>("SHORT_BINBYTES"), "SHORT_BINBYTES"));
      return;
    case Op::bin_bytes: push_text(PickleKind::bytes, take(number<uint32_t>("BINBYTES"), "BINBYTES")); return;
    case Op::bin_bytes8: push_text(PickleKind::bytes, take(number<uint64_t>("BINBYTES8"), "BINBYTES8")); return;
    case Op::byte_array8: push_text(PickleKind::bytes, take(number<uint64_t>("BYTEARRAY8"), "BYTEARRAY8")); return;
    default: step_of_objects(op, code);
  }
}

void PickleMachine::step_of_objects(Op op, unsigned char code) {
  switch (op) {
    case Op::empty_list: push(add(PickleKind::list)); return;
    case Op::empty_dict: push(add(PickleKind::dict)); return;
    case Op::empty_set: push(add(PickleKind::set)); return;
    case Op::empty_tuple: push(kEmptyTuple); return;
    case Op::tuple: push_tuple(pop_to_mark()); return;
    case Op::frozen_set: push_tuple(pop_to_mark(), PickleKind::set); return;
    case Op::tuple1:
    case Op::tuple2:
    case Op::tuple3: {
      std::vector<PickleRef> items(code - static_cast<size_t>(Op::tuple1) + 1);
      for (size_t i = items.size(); i-- > 0;) items[i] = pop();
      push_tuple(items);
      return;
    }
    case Op::append: {
      const PickleRef item = pop();
      append(top(), {item}, PickleKind::list);
      return;
    }
    case Op::appends:
    case Op::add_items: {
      const auto items = pop_to_mark();
      append(top(), items, op == Op::appends ? PickleKind::list : PickleKind::set);
      return;
    }
    case Op::set_item: {
      const PickleRef value = pop(), key = pop();
      set_items(top(), {key, value});
      return;
    }
    case Op::set_items: {
      const auto items = pop_to_mark();
      set_items(top(), items);
      return;
    }
    case Op::global: {
      const string_view module = line("GLOBAL");
      push_global(module, line("GLOBAL"));
      return;
    }
    case Op::stack_global: {
      const PickleRef name = pop(), module = pop();
      for (const PickleRef part : {module, name})
        if (nodes()[part].kind != PickleKind::text)
          refuse("STACK_GLOBAL; expected the text of a name, found ", result_.described(part));
      push_global(nodes()[module].text, nodes()[name].text);
      return;
    }
    case Op::reduce:
    case Op::new_obj: {
      const PickleRef arguments = pop();
      push_call(pop(), arguments);
      return;
    }
    case Op::new_obj_ex: {
      const PickleRef keywords = pop(), arguments = pop();
      if (nodes()[keywords].kind != PickleKind::dict)
        refuse("expected a dict of arguments, found ", result_.described(keywords));
      push_call(pop(), arguments);
      return;
    }
    case Op::build: {
      const PickleRef state = pop(), object = top();
      if (nodes()[object].kind != PickleKind::object)
        refuse("expected an object to give a state, found ", result_.described(object));
      put_inside(object, state);
      PickleNode& node = nodes()[object];
      node.children.pop_back();
      node.children[Pickle::state] = state;
      return;
    }
    case Op::bin_pers_id: {
      const PickleRef id = pop(), ref = add(PickleKind::persistent);
      put_inside(ref, id);
      push(ref);
      return;
    }
    case Op::memoize: memoize(memo_.size()); return;
    case Op::bin_put: memoize(number<uint8_t>("BINPUT")); return;
    case Op::long_bin_put: memoize(number<uint32_t>("LONG_BINPUT")); return;
    case Op::bin_get: recall(number<uint8_t>("BINGET")); return;
    case Op::long_bin_get: recall(number<uint32_t>("LONG_BINGET")); return;
    default: break;
  }
  const auto* refused = std::ranges::find(kRefused, code, &std::pair<unsigned char, string_view>::first);
  if (refused != kRefused.end()) refuse("the opcode ", refused->second, " is not read");
  constexpr string_view kDigits = "0123456789abcdef";
  refuse("expected an opcode of protocol 2 to 5, found byte 0x", kDigits[code >> 4], kDigits[code & 15u]);
}

Pickle Pickle::parse(std::span<const std::byte> bytes, string_view path, uint64_t start) {
  return PickleMachine(bytes, path, start).run();
}

}  // namespace ratel::io
