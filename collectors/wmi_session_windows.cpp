#include "collectors/wmi_session_windows.h"

// windows.h first: the others need its types.
#include <windows.h>

#include <oleauto.h>
#include <wbemidl.h>

#include <cstdio>
#include <type_traits>

#include "platform/windows_api.h"

namespace nodemeter {

namespace {

using windows::narrow;
using windows::wide;

// How long a provider may take for the next rows. Whoever asks has a shorter deadline; this only ends the call.
constexpr long kNextMs = 30'000;
constexpr int kRowsAtOnce = 32;
constexpr HRESULT kSomethingMissing = static_cast<HRESULT>(WBEM_E_NOT_FOUND);

struct Releaser {
  void operator()(IUnknown* object) const { object->Release(); }
};
template <class T>
using Com = std::unique_ptr<T, Releaser>;

class Text {  // A BSTR.
 public:
  explicit Text(const std::string& text) : text_(SysAllocString(wide(text).c_str())) {}
  Text(const Text&) = delete;
  Text& operator=(const Text&) = delete;
  ~Text() { SysFreeString(text_); }
  [[nodiscard]] BSTR get() const { return text_; }

 private:
  const BSTR text_;
};

class Value {  // A VARIANT.
 public:
  Value() { VariantInit(&value_); }
  Value(const Value&) = delete;
  Value& operator=(const Value&) = delete;
  ~Value() { VariantClear(&value_); }
  VARIANT* operator&() { return &value_; }
  VARIANT& operator*() { return value_; }

 private:
  VARIANT value_;
};

bool is(HRESULT result, DWORD code) { return static_cast<DWORD>(result) == code; }

Error failed(const std::string& what, HRESULT result) {
  char code[32];
  std::snprintf(code, sizeof(code), ": 0x%08lX", static_cast<unsigned long>(result));
  ErrorCode kind = ErrorCode::kUnavailable;
  if (is(result, WBEM_E_INVALID_CLASS) || result == kSomethingMissing) kind = ErrorCode::kNotFound;
  if (is(result, WBEM_E_ACCESS_DENIED) || result == E_ACCESSDENIED) kind = ErrorCode::kPermissionDenied;
  const bool denied = kind == ErrorCode::kPermissionDenied;
  return Error{kind, what + code + (denied ? ": this account is to be a member of Hyper-V Administrators" : "")};
}

std::string number_text(std::uint64_t value) { return std::to_string(value); }

// One value that is no array. Nothing: null, or of a kind that no property here has. WMI hands 64-bit numbers over as
// text, and unsigned ones as the signed type of the same or the next width.
std::optional<std::string> text_of(VARTYPE type, const void* at, CIMTYPE kind) {
  const auto whole = [&](auto sample) {
    using T = decltype(sample);
    const T value = *static_cast<const T*>(at);
    const bool is_unsigned = kind == CIM_UINT8 || kind == CIM_UINT16 || kind == CIM_UINT32 || kind == CIM_UINT64;
    if (value < 0 && !is_unsigned) return std::to_string(static_cast<std::int64_t>(value));
    return number_text(static_cast<std::uint64_t>(static_cast<std::make_unsigned_t<T>>(value)));
  };
  switch (type) {
    case VT_BSTR: {
      const BSTR text = *static_cast<const BSTR*>(at);
      return text == nullptr ? std::string() : narrow(std::wstring_view(text, SysStringLen(text)));
    }
    case VT_BOOL: return *static_cast<const VARIANT_BOOL*>(at) != VARIANT_FALSE ? "true" : "false";
    case VT_I1: return whole(std::int8_t{});
    case VT_UI1: return number_text(*static_cast<const std::uint8_t*>(at));
    case VT_I2: return whole(std::int16_t{});
    case VT_UI2: return number_text(*static_cast<const std::uint16_t*>(at));
    case VT_I4: return whole(std::int32_t{});
    case VT_UI4: return number_text(*static_cast<const std::uint32_t*>(at));
    case VT_I8: return whole(std::int64_t{});
    case VT_UI8: return number_text(*static_cast<const std::uint64_t*>(at));
    default: return std::nullopt;
  }
}

std::optional<WmiRow::Values> texts_of(const VARIANT& value, CIMTYPE kind) {
  const auto simple = static_cast<VARTYPE>(value.vt & VT_TYPEMASK);
  if ((value.vt & VT_ARRAY) == 0) {
    std::optional<std::string> text = text_of(simple, &value.llVal, kind);
    if (!text) return std::nullopt;
    return WmiRow::Values{std::move(*text)};
  }
  LONG first = 0;
  LONG last = -1;
  if (value.parray == nullptr || FAILED(SafeArrayGetLBound(value.parray, 1, &first)) ||
      FAILED(SafeArrayGetUBound(value.parray, 1, &last))) {
    return std::nullopt;
  }
  WmiRow::Values texts;
  for (LONG i = first; i <= last; ++i) {
    void* element = nullptr;
    if (FAILED(SafeArrayPtrOfIndex(value.parray, &i, &element))) return std::nullopt;
    texts.push_back(text_of(simple, element, kind & ~CIM_FLAG_ARRAY).value_or(std::string()));
  }
  return texts;
}

WmiRow row_of(IWbemClassObject& object, const std::vector<std::string>& properties) {
  WmiRow row;
  for (const std::string& property : properties) {
    Value value;
    CIMTYPE kind = 0;
    if (FAILED(object.Get(wide(property).c_str(), 0, &value, &kind, nullptr))) continue;
    if (std::optional<WmiRow::Values> texts = texts_of(*value, kind)) row.set(property, std::move(*texts));
  }
  return row;
}

// Keeps COM on this thread.
class Apartment {
 public:
  Apartment() : begun_(CoInitializeEx(nullptr, COINIT_MULTITHREADED)) {}
  Apartment(const Apartment&) = delete;
  Apartment& operator=(const Apartment&) = delete;
  ~Apartment() {
    if (SUCCEEDED(begun_)) CoUninitialize();
  }
  // A thread that has another apartment already does as well.
  [[nodiscard]] bool usable() const { return SUCCEEDED(begun_) || begun_ == RPC_E_CHANGED_MODE; }

 private:
  const HRESULT begun_;
};

class ComSession final : public WmiSession {
 public:
  Status connect(const std::string& name_space) {
    if (!apartment_.usable()) return Error{ErrorCode::kUnavailable, "COM does not start"};
    void* made = nullptr;
    HRESULT result = CoCreateInstance(CLSID_WbemLocator, nullptr, CLSCTX_INPROC_SERVER, IID_IWbemLocator, &made);
    if (FAILED(result)) return failed("WMI is not there", result);
    const Com<IWbemLocator> locator(static_cast<IWbemLocator*>(made));
    IWbemServices* services = nullptr;
    result = locator->ConnectServer(Text(name_space).get(), nullptr, nullptr, nullptr, WBEM_FLAG_CONNECT_USE_MAX_WAIT,
                                    nullptr, nullptr, &services);
    if (is(result, WBEM_E_INVALID_NAMESPACE)) {
      return Error{ErrorCode::kUnsupported, "not a Hyper-V host: WMI has no namespace " + name_space};
    }
    if (FAILED(result)) return failed("cannot connect to WMI's " + name_space, result);
    services_.reset(services);
    secure(services);
    return Done{};
  }

  Result<WmiRows> rows(const WmiQuery& query) override {
    std::string columns;
    for (const std::string& property : query.properties) columns += (columns.empty() ? "" : ",") + property;
    Result<WmiRows> rows = select(columns, query);
    if (rows || !refused_) return rows;
    // A property that this Windows does not know makes the whole query a wrong one.
    return select("*", query);
  }

  Status subscribe(const WmiQuery& query) override {
    const std::string text =
        "SELECT * FROM __InstanceOperationEvent WITHIN 2 WHERE TargetInstance ISA '" + query.class_name + "'";
    IEnumWbemClassObject* events = nullptr;
    const HRESULT result = services_->ExecNotificationQuery(
        Text("WQL").get(), Text(text).get(), WBEM_FLAG_FORWARD_ONLY | WBEM_FLAG_RETURN_IMMEDIATELY, nullptr, &events);
    if (FAILED(result)) return failed("WMI tells of no changes of " + query.class_name, result);
    events_.reset(events);
    secure(events);
    event_properties_ = query.properties;
    return Done{};
  }

  Result<std::optional<WmiNotice>> next_notice(Milliseconds wait) override {
    if (!events_) return Error{ErrorCode::kUnavailable, "not subscribed"};
    IWbemClassObject* raw = nullptr;
    ULONG count = 0;
    const HRESULT result = events_->Next(static_cast<long>(wait.count()), 1, &raw, &count);
    if (FAILED(result)) return failed("WMI's notices broke off", result);
    if (count == 0) {
      // Nothing yet; an enumeration that is over is one that broke.
      if (is(result, WBEM_S_TIMEDOUT)) return std::optional<WmiNotice>();
      return Error{ErrorCode::kUnavailable, "WMI's notices have ended"};
    }
    const Com<IWbemClassObject> event(raw);
    Value class_name;
    Value target;
    if (FAILED(event->Get(L"__CLASS", 0, &class_name, nullptr, nullptr)) ||
        FAILED(event->Get(L"TargetInstance", 0, &target, nullptr, nullptr)) || (*target).vt != VT_UNKNOWN) {
      return Error{ErrorCode::kUnavailable, "a notice of WMI without its instance"};
    }
    void* instance = nullptr;
    if (FAILED((*target).punkVal->QueryInterface(IID_IWbemClassObject, &instance))) {
      return Error{ErrorCode::kUnavailable, "a notice of WMI without its instance"};
    }
    const Com<IWbemClassObject> object(static_cast<IWbemClassObject*>(instance));
    WmiNotice notice;
    const std::string kind = text_of((*class_name).vt, &(*class_name).bstrVal, CIM_STRING).value_or("");
    if (kind == "__InstanceCreationEvent") notice.kind = WmiNotice::Kind::kCreated;
    if (kind == "__InstanceDeletionEvent") notice.kind = WmiNotice::Kind::kDeleted;
    notice.row = row_of(*object, event_properties_);
    return std::optional<WmiNotice>(std::move(notice));
  }

  Result<std::string> virtual_disk_settings(const std::string& path) override {
    constexpr const char* kService = "Msvm_ImageManagementService";
    constexpr const char* kMethod = "GetVirtualHardDiskSettingData";
    if (service_path_.empty()) {
      const Result<WmiRows> services = rows({kService, {"__PATH"}, ""});
      if (!services) return services.error();
      if (services->empty()) return Error{ErrorCode::kUnavailable, "WMI shows no image service"};
      service_path_ = services->front().text("__PATH");
    }
    IWbemClassObject* raw = nullptr;
    HRESULT result = services_->GetObject(Text(kService).get(), 0, nullptr, &raw, nullptr);
    if (FAILED(result)) return failed(kService, result);
    const Com<IWbemClassObject> service(raw);
    result = service->GetMethod(wide(kMethod).c_str(), 0, &raw, nullptr);
    if (FAILED(result)) return failed(kMethod, result);
    const Com<IWbemClassObject> signature(raw);
    result = signature->SpawnInstance(0, &raw);
    if (FAILED(result)) return failed(kMethod, result);
    const Com<IWbemClassObject> arguments(raw);
    Value file;
    (*file).vt = VT_BSTR;
    (*file).bstrVal = SysAllocString(wide(path).c_str());
    result = arguments->Put(L"Path", 0, &file, 0);
    if (FAILED(result)) return failed(kMethod, result);
    result = services_->ExecMethod(Text(service_path_).get(), Text(kMethod).get(), 0, nullptr, arguments.get(), &raw,
                                   nullptr);
    if (FAILED(result)) return failed(kMethod, result);
    const Com<IWbemClassObject> answer(raw);
    const WmiRow row = row_of(*answer, {"ReturnValue", "SettingData"});
    if (row.number("ReturnValue") == 0u && row.has("SettingData")) return std::string(row.text("SettingData"));
    return Error{ErrorCode::kNotFound, path + ": the image service answers " + std::string(row.text("ReturnValue"))};
  }

 private:
  // The real WMI wants calls to be made in the name of this account. What is no proxy needs nothing.
  static void secure(IUnknown* proxy) {
    const HRESULT ignored =
        CoSetProxyBlanket(proxy, RPC_C_AUTHN_WINNT, RPC_C_AUTHZ_NONE, nullptr, RPC_C_AUTHN_LEVEL_PKT_PRIVACY,
                          RPC_C_IMP_LEVEL_IMPERSONATE, nullptr, EOAC_NONE);
    static_cast<void>(ignored);
  }

  Result<WmiRows> select(const std::string& columns, const WmiQuery& query) {
    std::string text = "SELECT " + columns + " FROM " + query.class_name;
    if (!query.condition.empty()) text += " WHERE " + query.condition;
    IEnumWbemClassObject* raw = nullptr;
    HRESULT result = services_->ExecQuery(Text("WQL").get(), Text(text).get(),
                                          WBEM_FLAG_FORWARD_ONLY | WBEM_FLAG_RETURN_IMMEDIATELY, nullptr, &raw);
    refused_ = is(result, WBEM_E_INVALID_QUERY);
    if (FAILED(result)) return failed(query.class_name, result);
    const Com<IEnumWbemClassObject> found(raw);
    secure(found.get());
    WmiRows rows;
    for (;;) {
      IWbemClassObject* objects[kRowsAtOnce] = {};
      ULONG count = 0;
      result = found->Next(kNextMs, kRowsAtOnce, objects, &count);
      for (ULONG i = 0; i < count; ++i) {
        const Com<IWbemClassObject> object(objects[i]);
        rows.push_back(row_of(*object, query.properties));
      }
      refused_ = is(result, WBEM_E_INVALID_QUERY);
      if (is(result, WBEM_S_FALSE)) return rows;
      // A class that was found and an instance that was not: gone while it was being read, with whatever follows it.
      if (result == kSomethingMissing) return Error{ErrorCode::kUnavailable, query.class_name + ": cut short"};
      if (FAILED(result)) return failed(query.class_name, result);
      if (is(result, WBEM_S_TIMEDOUT)) return Error{ErrorCode::kUnavailable, query.class_name + ": no answer"};
      // Any other kind of success is of a part only.
      if (result != WBEM_S_NO_ERROR) return failed(query.class_name, result);
    }
  }

  const Apartment apartment_;  // First in, last out.
  Com<IWbemServices> services_;
  Com<IEnumWbemClassObject> events_;
  std::vector<std::string> event_properties_;
  std::string service_path_;
  bool refused_ = false;  // The last query, as one that WMI does not understand.
};

}  // namespace

Result<std::unique_ptr<WmiSession>> open_wmi_session(const std::string& name_space) {
  auto session = std::make_unique<ComSession>();
  if (Status connected = session->connect(name_space); !connected) return connected.error();
  return std::unique_ptr<WmiSession>(std::move(session));
}

}  // namespace nodemeter
