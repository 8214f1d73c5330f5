// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_IOMMUFD_CONTEXT_H_
#define BERTH_LIB_IOMMUFD_CONTEXT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/iommufd/kernel_api.h"
#include "lib/iommufd/kernel_call.h"

namespace berth {

// An iommufd context: the world of ids of one grant. A cheap handle: its fd is closed when the
// last copy and the last object made from it are gone, so an object can never act on a stranger's
// fd. Thread-safe; the objects are not.
//
// The objects of this folder (Device, Ioas, Hwpt, Viommu, Vdevice, HwQueue, Veventq) own one kernel
// object each and destroy it when they go. The kernel refuses (EBUSY) to destroy what others
// build on, so whoever holds several declares them in the order of creation: Context, Device, Ioas,
// Hwpt (nesting parent), Viommu, Veventq, Vdevice, Hwpt (nested), HwQueue 0, 1, ... Members then
// go in the order that the kernel wants. A nested Hwpt that a device is attached to, and a parent
// that it falls back to, must be left (Device::Attach, Device::Detach) before.
class Context {
 public:
  // Hears of every object whose destructor could not destroy it (EBUSY or ENOENT; the metadata
  // names "object" and "id"). Called from whatever thread destroys.
  using LeakReporter = std::function<void(const absl::Status&)>;

  // `kernel` must outlive the context and its objects. Errors: KernelApi::OpenContext().
  static absl::StatusOr<Context> Open(KernelApi* kernel, LeakReporter on_leak = {});
  // Takes over a context that exists, e.g. from the fd store.
  static Context Adopt(KernelApi* kernel, UniqueFd fd, LeakReporter on_leak = {});

  [[nodiscard]] int fd() const { return state_->fd.get(); }
  [[nodiscard]] KernelApi& kernel() const { return *state_->kernel; }
  // ioctl on the context.
  absl::Status Call(uapi::Request request, void* arg, const ErrorMetadata& metadata = {},
                    ObjectKind kind = ObjectKind::kNone) const {
    return CallKernel(kernel(), fd(), request, arg, metadata, kind);
  }
  void ReportLeak(const absl::Status& status) const {
    if (state_->on_leak) state_->on_leak(status);
  }
  // INTERNAL unless `other` is this context: an id means another object elsewhere.
  [[nodiscard]] absl::Status CheckSame(const Context& other) const;

 private:
  struct State {
    KernelApi* kernel;
    UniqueFd fd;
    LeakReporter on_leak;
  };
  explicit Context(std::shared_ptr<const State> state) : state_(std::move(state)) {}

  std::shared_ptr<const State> state_;
};

// Owns one id of a context. Move-only; what was moved from is empty (id 0).
class KernelObject {
 public:
  // What was moved from keeps its context: it still says where it belonged.
  KernelObject(KernelObject&& other) noexcept  // NOLINTNEXTLINE(performance-move-constructor-init)
      : context_(other.context_), kind_(other.kind_), id_(std::exchange(other.id_, 0)) {}
  KernelObject& operator=(KernelObject&& other) noexcept;
  KernelObject(const KernelObject&) = delete;
  KernelObject& operator=(const KernelObject&) = delete;

  [[nodiscard]] uint32_t id() const { return id_; }
  [[nodiscard]] bool valid() const { return id_ != 0; }
  [[nodiscard]] const Context& context() const { return context_; }

  // Destroys the kernel's object. With EBUSY the object stays valid and the call can be repeated;
  // after success or any other error nothing is left to destroy and the object is empty. Nothing to
  // do on an empty object: OK. Errors: STILL_MAPPED (vIOMMU), QUEUE_ORDER (HW queue),
  // STATE_CONFLICT (others) for EBUSY; NOT_FOUND (the kernel has it no more, e.g. a vDEVICE whose
  // device was closed first); KERNEL_GONE.
  absl::Status Destroy();
  // Gives the id up without destroying, for an object that is to outlive this process.
  uint32_t Forget() { return std::exchange(id_, 0); }

 protected:
  KernelObject(Context context, ObjectKind kind, uint32_t id)
      : context_(std::move(context)), kind_(kind), id_(id) {}
  ~KernelObject() { DestroyOrReport(); }

 private:
  void DestroyOrReport();

  Context context_;
  ObjectKind kind_;
  uint32_t id_;
};

}  // namespace berth

#endif  // BERTH_LIB_IOMMUFD_CONTEXT_H_
