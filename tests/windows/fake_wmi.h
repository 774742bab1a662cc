// A stand-in for WMI within the test's process: CoCreateInstance gives its locator, and an unmodified session asks it.
//
// Rows and notices come from the test. Values have the types that Hyper-V's classes have: 64-bit numbers as text,
// unsigned ones as signed variants, arrays as safe arrays.

#pragma once

#include <windows.h>

#include <oleauto.h>
#include <wbemidl.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <set>
#include <string>

#include "collectors/wmi_session.h"
#include "platform/windows_api.h"

namespace nodemeter::fake {

// Msvm_VirtualHardDiskSettingData of a disk that large, as the method answers.
inline std::string disk_settings_of(std::uint64_t bytes) {
  return R"(<INSTANCE CLASSNAME="Msvm_VirtualHardDiskSettingData"><PROPERTY NAME="MaxInternalSize" TYPE="uint64"><VALUE>)" +
         std::to_string(bytes) + "</VALUE></PROPERTY></INSTANCE>";
}

// What the host answers. Any thread; functions are called under `mutex`.
struct Wmi {
  std::mutex mutex;
  std::condition_variable changed;
  std::function<std::optional<WmiRows>(const std::string& class_name)> rows;  // Nothing: no such class.
  std::function<std::optional<std::string>(const std::string& path)> disk_settings;
  std::set<std::string> unknown_properties;  // A query that names one is refused.
  std::deque<WmiNotice> notices;
  HRESULT connects = S_OK;
  HRESULT rows_end = S_FALSE;  // Of what comes after the last row.
  int queries = 0;
};

template <class Interface>
class Object : public Interface {
 public:
  virtual ~Object() = default;
  HRESULT STDMETHODCALLTYPE QueryInterface(REFIID id, void** object) override {
    if (!IsEqualIID(id, IID_IUnknown) && !IsEqualIID(id, __uuidof(Interface))) return E_NOINTERFACE;
    *object = this;
    AddRef();
    return S_OK;
  }
  ULONG STDMETHODCALLTYPE AddRef() override { return ++uses_; }
  ULONG STDMETHODCALLTYPE Release() override {
    const ULONG left = --uses_;
    if (left == 0) delete this;
    return left;
  }

 private:
  std::atomic<ULONG> uses_{1};
};

// A method of an interface that nobody calls.
#define NODEMETER_UNASKED(method) \
  HRESULT STDMETHODCALLTYPE method override { return E_NOTIMPL; }

class ClassObject final : public Object<IWbemClassObject> {
 public:
  explicit ClassObject(WmiRow row) : row_(std::move(row)) {}
  ClassObject(WmiRow row, ClassObject* target) : row_(std::move(row)), target_(target) {}
  ~ClassObject() override {
    if (target_ != nullptr) target_->Release();
  }
  [[nodiscard]] const WmiRow& row() const { return row_; }

  HRESULT STDMETHODCALLTYPE Get(LPCWSTR name, LONG, VARIANT* value, CIMTYPE* type, LONG*) override {
    const std::string property = windows::narrow(name);
    CIMTYPE ignored = 0;
    CIMTYPE& kind = type == nullptr ? ignored : *type;
    if (property == "TargetInstance" && target_ != nullptr) {
      value->vt = VT_UNKNOWN;
      value->punkVal = target_;
      target_->AddRef();
      return S_OK;
    }
    const auto found = row_.all().find(property);
    if (found == row_.all().end()) {
      // Known to the class, and null.
      value->vt = VT_NULL;
      return S_OK;
    }
    kind = kind_of(property);
    if ((kind & CIM_FLAG_ARRAY) == 0) {
      fill(*value, found->second.front(), kind);
      return S_OK;
    }
    const bool texts = kind == (CIM_STRING | CIM_FLAG_ARRAY);
    value->vt = static_cast<VARTYPE>(VT_ARRAY | (texts ? VT_BSTR : VT_I4));
    value->parray = SafeArrayCreateVector(texts ? VT_BSTR : VT_I4, 0, static_cast<ULONG>(found->second.size()));
    for (LONG i = 0; i < static_cast<LONG>(found->second.size()); ++i) {
      VARIANT element;
      fill(element, found->second[static_cast<std::size_t>(i)], kind & ~CIM_FLAG_ARRAY);
      SafeArrayPutElement(value->parray, &i, texts ? static_cast<void*>(element.bstrVal) : &element.lVal);
      VariantClear(&element);
    }
    return S_OK;
  }
  HRESULT STDMETHODCALLTYPE Put(LPCWSTR name, LONG, VARIANT* value, CIMTYPE) override {
    row_.set(windows::narrow(name), windows::narrow(value->bstrVal));
    return S_OK;
  }
  HRESULT STDMETHODCALLTYPE GetMethod(LPCWSTR, LONG, IWbemClassObject** in, IWbemClassObject**) override {
    *in = new ClassObject(WmiRow{});
    return S_OK;
  }
  HRESULT STDMETHODCALLTYPE SpawnInstance(LONG, IWbemClassObject** made) override {
    *made = new ClassObject(WmiRow{});
    return S_OK;
  }

  // Nobody asks for the rest.
  NODEMETER_UNASKED(GetQualifierSet(IWbemQualifierSet**));
  NODEMETER_UNASKED(Delete(LPCWSTR));
  NODEMETER_UNASKED(GetNames(LPCWSTR, LONG, VARIANT*, SAFEARRAY**));
  NODEMETER_UNASKED(BeginEnumeration(LONG));
  NODEMETER_UNASKED(Next(LONG, BSTR*, VARIANT*, CIMTYPE*, LONG*));
  NODEMETER_UNASKED(EndEnumeration());
  NODEMETER_UNASKED(GetPropertyQualifierSet(LPCWSTR, IWbemQualifierSet**));
  NODEMETER_UNASKED(Clone(IWbemClassObject**));
  NODEMETER_UNASKED(GetObjectText(LONG, BSTR*));
  NODEMETER_UNASKED(SpawnDerivedClass(LONG, IWbemClassObject**));
  NODEMETER_UNASKED(CompareTo(LONG, IWbemClassObject*));
  NODEMETER_UNASKED(GetPropertyOrigin(LPCWSTR, BSTR*));
  NODEMETER_UNASKED(InheritsFrom(LPCWSTR));
  NODEMETER_UNASKED(PutMethod(LPCWSTR, LONG, IWbemClassObject*, IWbemClassObject*));
  NODEMETER_UNASKED(DeleteMethod(LPCWSTR));
  NODEMETER_UNASKED(BeginMethodEnumeration(LONG));
  NODEMETER_UNASKED(NextMethod(LONG, BSTR*, IWbemClassObject**, IWbemClassObject**));
  NODEMETER_UNASKED(EndMethodEnumeration());
  NODEMETER_UNASKED(GetMethodQualifierSet(LPCWSTR, IWbemQualifierSet**));
  NODEMETER_UNASKED(GetMethodOrigin(LPCWSTR, BSTR*));

 private:
  static CIMTYPE kind_of(const std::string& property) {
    if (property == "OperationalStatus") return CIM_UINT16 | CIM_FLAG_ARRAY;
    if (property == "Notes" || property == "HostResource") return CIM_STRING | CIM_FLAG_ARRAY;
    if (property == "EnabledState" || property == "ReplicationMode") return CIM_UINT16;
    if (property == "ProcessID" || property == "ReturnValue") return CIM_UINT32;
    if (property == "DynamicMemoryEnabled") return CIM_BOOLEAN;
    const bool wide = property == "OnTimeInMilliseconds" || property == "VirtualQuantity" || property == "MemoryUsage";
    return wide ? CIM_UINT64 : CIM_STRING;
  }
  static void fill(VARIANT& value, const std::string& text, CIMTYPE kind) {
    VariantInit(&value);
    if (kind == CIM_UINT16 || kind == CIM_UINT32) {
      value.vt = VT_I4;
      value.lVal = static_cast<LONG>(std::stoul(text));
    } else if (kind == CIM_BOOLEAN) {
      value.vt = VT_BOOL;
      value.boolVal = text == "true" ? VARIANT_TRUE : VARIANT_FALSE;
    } else {
      value.vt = VT_BSTR;
      value.bstrVal = SysAllocString(windows::wide(text).c_str());
    }
  }

  WmiRow row_;
  ClassObject* const target_ = nullptr;
};

class Enumerator : public Object<IEnumWbemClassObject> {
  // Nobody asks for more than the next ones.
  NODEMETER_UNASKED(Reset());
  NODEMETER_UNASKED(NextAsync(ULONG, IWbemObjectSink*));
  NODEMETER_UNASKED(Clone(IEnumWbemClassObject**));
  NODEMETER_UNASKED(Skip(LONG, ULONG));
};

class RowEnumerator final : public Enumerator {
 public:
  RowEnumerator(WmiRows rows, HRESULT end) : rows_(std::move(rows)), end_(end) {}
  HRESULT STDMETHODCALLTYPE Next(LONG, ULONG wanted, IWbemClassObject** objects, ULONG* count) override {
    for (*count = 0; *count < wanted && next_ < rows_.size(); ++*count)
      objects[*count] = new ClassObject(rows_[next_++]);
    if (*count == wanted) return S_OK;
    return end_;
  }

 private:
  const WmiRows rows_;
  const HRESULT end_;  // As semisynchronous queries do, errors come with the rows.
  std::size_t next_ = 0;
};

class NoticeEnumerator final : public Enumerator {
 public:
  explicit NoticeEnumerator(Wmi& wmi) : wmi_(wmi) {}
  HRESULT STDMETHODCALLTYPE Next(LONG timeout, ULONG, IWbemClassObject** objects, ULONG* count) override {
    std::unique_lock lock(wmi_.mutex);
    *count = 0;
    wmi_.changed.wait_for(lock, Milliseconds{timeout}, [this] { return !wmi_.notices.empty(); });
    if (wmi_.notices.empty()) return static_cast<HRESULT>(WBEM_S_TIMEDOUT);
    const WmiNotice notice = wmi_.notices.front();
    wmi_.notices.pop_front();
    WmiRow event;
    event.set("__CLASS", notice.kind == WmiNotice::Kind::kCreated   ? "__InstanceCreationEvent"
                         : notice.kind == WmiNotice::Kind::kDeleted ? "__InstanceDeletionEvent"
                                                                    : "__InstanceModificationEvent");
    objects[0] = new ClassObject(event, new ClassObject(notice.row));
    *count = 1;
    return S_OK;
  }

 private:
  Wmi& wmi_;
};

class Services final : public Object<IWbemServices> {
 public:
  explicit Services(Wmi& wmi) : wmi_(wmi) {}
  HRESULT STDMETHODCALLTYPE ExecQuery(const BSTR, const BSTR query, LONG, IWbemContext*,
                                      IEnumWbemClassObject** found) override {
    const std::string text = windows::narrow(query);
    const std::lock_guard lock(wmi_.mutex);
    ++wmi_.queries;
    const std::size_t from = text.find(" FROM ");
    const std::string columns = text.substr(0, from);
    std::string class_name = text.substr(from + 6);
    class_name = class_name.substr(0, class_name.find(' '));
    for (const std::string& property : wmi_.unknown_properties) {
      if (columns.find(property) == std::string::npos) continue;
      *found = new RowEnumerator({}, static_cast<HRESULT>(WBEM_E_INVALID_QUERY));
      return S_OK;
    }
    std::optional<WmiRows> rows = wmi_.rows(class_name);
    const HRESULT end = rows ? wmi_.rows_end : static_cast<HRESULT>(WBEM_E_INVALID_CLASS);
    *found = new RowEnumerator(rows.value_or(WmiRows{}), end);
    return S_OK;
  }
  HRESULT STDMETHODCALLTYPE ExecNotificationQuery(const BSTR, const BSTR, LONG, IWbemContext*,
                                                  IEnumWbemClassObject** events) override {
    *events = new NoticeEnumerator(wmi_);
    return S_OK;
  }
  HRESULT STDMETHODCALLTYPE GetObject(const BSTR, LONG, IWbemContext*, IWbemClassObject** object,
                                      IWbemCallResult**) override {
    *object = new ClassObject(WmiRow{});
    return S_OK;
  }
  HRESULT STDMETHODCALLTYPE ExecMethod(const BSTR, const BSTR, LONG, IWbemContext*, IWbemClassObject* in,
                                       IWbemClassObject** out, IWbemCallResult**) override {
    const std::string path(static_cast<ClassObject*>(in)->row().text("Path"));
    const std::lock_guard lock(wmi_.mutex);
    const std::optional<std::string> settings = wmi_.disk_settings(path);
    WmiRow answer;
    answer.set("ReturnValue", settings ? "0" : "32779");
    if (settings) answer.set("SettingData", *settings);
    *out = new ClassObject(answer);
    return S_OK;
  }

  // Nobody asks for the rest.
  NODEMETER_UNASKED(OpenNamespace(const BSTR, LONG, IWbemContext*, IWbemServices**, IWbemCallResult**));
  NODEMETER_UNASKED(CancelAsyncCall(IWbemObjectSink*));
  NODEMETER_UNASKED(QueryObjectSink(LONG, IWbemObjectSink**));
  NODEMETER_UNASKED(GetObjectAsync(const BSTR, LONG, IWbemContext*, IWbemObjectSink*));
  NODEMETER_UNASKED(PutClass(IWbemClassObject*, LONG, IWbemContext*, IWbemCallResult**));
  NODEMETER_UNASKED(PutClassAsync(IWbemClassObject*, LONG, IWbemContext*, IWbemObjectSink*));
  NODEMETER_UNASKED(DeleteClass(const BSTR, LONG, IWbemContext*, IWbemCallResult**));
  NODEMETER_UNASKED(DeleteClassAsync(const BSTR, LONG, IWbemContext*, IWbemObjectSink*));
  NODEMETER_UNASKED(CreateClassEnum(const BSTR, LONG, IWbemContext*, IEnumWbemClassObject**));
  NODEMETER_UNASKED(CreateClassEnumAsync(const BSTR, LONG, IWbemContext*, IWbemObjectSink*));
  NODEMETER_UNASKED(PutInstance(IWbemClassObject*, LONG, IWbemContext*, IWbemCallResult**));
  NODEMETER_UNASKED(PutInstanceAsync(IWbemClassObject*, LONG, IWbemContext*, IWbemObjectSink*));
  NODEMETER_UNASKED(DeleteInstance(const BSTR, LONG, IWbemContext*, IWbemCallResult**));
  NODEMETER_UNASKED(DeleteInstanceAsync(const BSTR, LONG, IWbemContext*, IWbemObjectSink*));
  NODEMETER_UNASKED(CreateInstanceEnum(const BSTR, LONG, IWbemContext*, IEnumWbemClassObject**));
  NODEMETER_UNASKED(CreateInstanceEnumAsync(const BSTR, LONG, IWbemContext*, IWbemObjectSink*));
  NODEMETER_UNASKED(ExecQueryAsync(const BSTR, const BSTR, LONG, IWbemContext*, IWbemObjectSink*));
  NODEMETER_UNASKED(ExecNotificationQueryAsync(const BSTR, const BSTR, LONG, IWbemContext*, IWbemObjectSink*));
  NODEMETER_UNASKED(ExecMethodAsync(const BSTR, const BSTR, LONG, IWbemContext*, IWbemClassObject*, IWbemObjectSink*));

 private:
  Wmi& wmi_;
};

class Locator final : public Object<IWbemLocator> {
 public:
  explicit Locator(Wmi& wmi) : wmi_(wmi) {}
  HRESULT STDMETHODCALLTYPE ConnectServer(const BSTR, const BSTR, const BSTR, const BSTR, LONG, const BSTR,
                                          IWbemContext*, IWbemServices** services) override {
    if (FAILED(wmi_.connects)) return wmi_.connects;
    *services = new Services(wmi_);
    return S_OK;
  }

 private:
  Wmi& wmi_;
};

class Factory final : public Object<IClassFactory> {
 public:
  explicit Factory(Wmi& wmi) : wmi_(wmi) {}
  HRESULT STDMETHODCALLTYPE CreateInstance(IUnknown*, REFIID id, void** object) override {
    auto* const locator = new Locator(wmi_);
    const HRESULT result = locator->QueryInterface(id, object);
    locator->Release();
    return result;
  }
  HRESULT STDMETHODCALLTYPE LockServer(BOOL) override { return S_OK; }

 private:
  Wmi& wmi_;
};

// While it lives, every WbemLocator that this process makes is the stand-in's.
class InPlace {
 public:
  explicit InPlace(Wmi& wmi) : factory_(new Factory(wmi)) {
    CoInitializeEx(nullptr, COINIT_MULTITHREADED);
    CoRegisterClassObject(CLSID_WbemLocator, factory_, CLSCTX_INPROC_SERVER, REGCLS_MULTIPLEUSE, &cookie_);
  }
  InPlace(const InPlace&) = delete;
  InPlace& operator=(const InPlace&) = delete;
  ~InPlace() {
    CoRevokeClassObject(cookie_);
    factory_->Release();
    CoUninitialize();
  }

 private:
  Factory* const factory_;
  DWORD cookie_ = 0;
};

}  // namespace nodemeter::fake
