// SPDX-License-Identifier: Apache-2.0
//
// The binary interface of /dev/iommu as of Linux 7.3 (include/uapi/linux/iommufd.h), as far as
// Berth uses or emulates it. Own definitions, because the headers of older distributions lack most
// of it. Native byte order; the first u32 of every ioctl struct is its size; pointers travel as
// u64. Names follow the kernel's: iommu_viommu_alloc.out_viommu_id is
// IommuViommuAlloc::out_viommu_id.
#ifndef BERTH_LIB_IOMMUFD_UAPI_IOMMUFD_H_
#define BERTH_LIB_IOMMUFD_UAPI_IOMMUFD_H_

#include <cstddef>
#include <cstdint>

namespace berth::uapi {

// Requests: _IO(';', 0x80 + n), without size or direction bits.
using Request = unsigned long;  // NOLINT(google-runtime-int): the type of ioctl(2)
inline constexpr Request kIommuDestroy = 0x3b80;
inline constexpr Request kIommuIoasAlloc = 0x3b81;
inline constexpr Request kIommuIoasAllowIovas = 0x3b82;
inline constexpr Request kIommuIoasCopy = 0x3b83;
inline constexpr Request kIommuIoasIovaRanges = 0x3b84;
inline constexpr Request kIommuIoasMap = 0x3b85;
inline constexpr Request kIommuIoasUnmap = 0x3b86;
inline constexpr Request kIommuOption = 0x3b87;
inline constexpr Request kIommuVfioIoas = 0x3b88;
inline constexpr Request kIommuHwptAlloc = 0x3b89;
inline constexpr Request kIommuGetHwInfo = 0x3b8a;
inline constexpr Request kIommuHwptSetDirtyTracking = 0x3b8b;
inline constexpr Request kIommuHwptGetDirtyBitmap = 0x3b8c;
inline constexpr Request kIommuHwptInvalidate = 0x3b8d;
inline constexpr Request kIommuFaultQueueAlloc = 0x3b8e;
inline constexpr Request kIommuIoasMapFile = 0x3b8f;
inline constexpr Request kIommuViommuAlloc = 0x3b90;
inline constexpr Request kIommuVdeviceAlloc = 0x3b91;
inline constexpr Request kIommuIoasChangeProcess = 0x3b92;
inline constexpr Request kIommuVeventqAlloc = 0x3b93;
inline constexpr Request kIommuHwQueueAlloc = 0x3b94;
inline constexpr Request kIommuIoasNoiommuGetPa = 0x3b95;

struct IommuDestroy {
  uint32_t size;
  uint32_t id;
};
static_assert(sizeof(IommuDestroy) == 8 && offsetof(IommuDestroy, id) == 4);

struct IommuIoasAlloc {
  uint32_t size;
  uint32_t flags;
  uint32_t out_ioas_id;
};
static_assert(sizeof(IommuIoasAlloc) == 12 && offsetof(IommuIoasAlloc, flags) == 4 &&
              offsetof(IommuIoasAlloc, out_ioas_id) == 8);

// An inclusive range: `last` belongs to it.
struct IommuIovaRange {
  uint64_t start;
  uint64_t last;
};
static_assert(sizeof(IommuIovaRange) == 16 && offsetof(IommuIovaRange, last) == 8);

struct IommuIoasIovaRanges {
  uint32_t size;
  uint32_t ioas_id;
  uint32_t num_iovas;  // in: room; out: how many there are, also with EMSGSIZE
  uint32_t reserved;
  uint64_t allowed_iovas;  // IommuIovaRange[num_iovas]
  uint64_t out_iova_alignment;
};
static_assert(sizeof(IommuIoasIovaRanges) == 32 && offsetof(IommuIoasIovaRanges, ioas_id) == 4 &&
              offsetof(IommuIoasIovaRanges, num_iovas) == 8 &&
              offsetof(IommuIoasIovaRanges, reserved) == 12 &&
              offsetof(IommuIoasIovaRanges, allowed_iovas) == 16 &&
              offsetof(IommuIoasIovaRanges, out_iova_alignment) == 24);

struct IommuIoasAllowIovas {
  uint32_t size;
  uint32_t ioas_id;
  uint32_t num_iovas;
  uint32_t reserved;
  uint64_t allowed_iovas;  // IommuIovaRange[num_iovas]
};
static_assert(sizeof(IommuIoasAllowIovas) == 24 && offsetof(IommuIoasAllowIovas, ioas_id) == 4 &&
              offsetof(IommuIoasAllowIovas, num_iovas) == 8 &&
              offsetof(IommuIoasAllowIovas, reserved) == 12 &&
              offsetof(IommuIoasAllowIovas, allowed_iovas) == 16);

// IommuIoasMap::flags, IommuIoasMapFile::flags, IommuIoasCopy::flags
inline constexpr uint32_t kIoasMapFixedIova = 1;
inline constexpr uint32_t kIoasMapWriteable = 2;
inline constexpr uint32_t kIoasMapReadable = 4;

struct IommuIoasMap {
  uint32_t size;
  uint32_t flags;
  uint32_t ioas_id;
  uint32_t reserved;
  uint64_t user_va;
  uint64_t length;
  uint64_t iova;
};
static_assert(sizeof(IommuIoasMap) == 40 && offsetof(IommuIoasMap, flags) == 4 &&
              offsetof(IommuIoasMap, ioas_id) == 8 && offsetof(IommuIoasMap, reserved) == 12 &&
              offsetof(IommuIoasMap, user_va) == 16 && offsetof(IommuIoasMap, length) == 24 &&
              offsetof(IommuIoasMap, iova) == 32);

struct IommuIoasMapFile {
  uint32_t size;
  uint32_t flags;
  uint32_t ioas_id;
  int32_t fd;
  uint64_t start;  // offset in the file
  uint64_t length;
  uint64_t iova;
};
static_assert(sizeof(IommuIoasMapFile) == 40 && offsetof(IommuIoasMapFile, flags) == 4 &&
              offsetof(IommuIoasMapFile, ioas_id) == 8 && offsetof(IommuIoasMapFile, fd) == 12 &&
              offsetof(IommuIoasMapFile, start) == 16 && offsetof(IommuIoasMapFile, length) == 24 &&
              offsetof(IommuIoasMapFile, iova) == 32);

struct IommuIoasCopy {
  uint32_t size;
  uint32_t flags;
  uint32_t dst_ioas_id;
  uint32_t src_ioas_id;
  uint64_t length;
  uint64_t dst_iova;
  uint64_t src_iova;
};
static_assert(sizeof(IommuIoasCopy) == 40 && offsetof(IommuIoasCopy, flags) == 4 &&
              offsetof(IommuIoasCopy, dst_ioas_id) == 8 &&
              offsetof(IommuIoasCopy, src_ioas_id) == 12 && offsetof(IommuIoasCopy, length) == 16 &&
              offsetof(IommuIoasCopy, dst_iova) == 24 && offsetof(IommuIoasCopy, src_iova) == 32);

// iova 0 with length U64_MAX unmaps everything.
struct IommuIoasUnmap {
  uint32_t size;
  uint32_t ioas_id;
  uint64_t iova;
  uint64_t length;  // out, on success: bytes unmapped
};
static_assert(sizeof(IommuIoasUnmap) == 24 && offsetof(IommuIoasUnmap, ioas_id) == 4 &&
              offsetof(IommuIoasUnmap, iova) == 8 && offsetof(IommuIoasUnmap, length) == 16);

// IommuOption::option_id and ::op
inline constexpr uint32_t kOptionRlimitMode = 0;
inline constexpr uint32_t kOptionHugePages = 1;
inline constexpr uint16_t kOptionOpSet = 0;
inline constexpr uint16_t kOptionOpGet = 1;

struct IommuOption {
  uint32_t size;
  uint32_t option_id;
  uint16_t op;
  uint16_t reserved;
  uint32_t object_id;
  uint64_t val64;
};
static_assert(sizeof(IommuOption) == 24 && offsetof(IommuOption, option_id) == 4 &&
              offsetof(IommuOption, op) == 8 && offsetof(IommuOption, reserved) == 10 &&
              offsetof(IommuOption, object_id) == 12 && offsetof(IommuOption, val64) == 16);

// IommuVfioIoas::op
inline constexpr uint16_t kVfioIoasGet = 0;
inline constexpr uint16_t kVfioIoasSet = 1;
inline constexpr uint16_t kVfioIoasClear = 2;

struct IommuVfioIoas {
  uint32_t size;
  uint32_t ioas_id;
  uint16_t op;
  uint16_t reserved;
};
static_assert(sizeof(IommuVfioIoas) == 12 && offsetof(IommuVfioIoas, ioas_id) == 4 &&
              offsetof(IommuVfioIoas, op) == 8 && offsetof(IommuVfioIoas, reserved) == 10);

// IommuHwptAlloc::flags and ::data_type
inline constexpr uint32_t kHwptAllocNestParent = 1;
inline constexpr uint32_t kHwptAllocDirtyTracking = 2;
inline constexpr uint32_t kHwptAllocFaultIdValid = 4;
inline constexpr uint32_t kHwptAllocPasid = 8;
inline constexpr uint32_t kHwptDataNone = 0;
inline constexpr uint32_t kHwptDataVtdS1 = 1;
inline constexpr uint32_t kHwptDataArmSmmuv3 = 2;
inline constexpr uint32_t kHwptDataAmdGuest = 3;

struct IommuHwptAlloc {
  uint32_t size;
  uint32_t flags;
  uint32_t dev_id;
  uint32_t pt_id;  // an IOAS, an HWPT or a vIOMMU
  uint32_t out_hwpt_id;
  uint32_t reserved;
  uint32_t data_type;
  uint32_t data_len;
  uint64_t data_uptr;
  uint32_t fault_id;
  uint32_t reserved2;
};
static_assert(sizeof(IommuHwptAlloc) == 48 && offsetof(IommuHwptAlloc, flags) == 4 &&
              offsetof(IommuHwptAlloc, dev_id) == 8 && offsetof(IommuHwptAlloc, pt_id) == 12 &&
              offsetof(IommuHwptAlloc, out_hwpt_id) == 16 &&
              offsetof(IommuHwptAlloc, reserved) == 20 &&
              offsetof(IommuHwptAlloc, data_type) == 24 &&
              offsetof(IommuHwptAlloc, data_len) == 28 &&
              offsetof(IommuHwptAlloc, data_uptr) == 32 &&
              offsetof(IommuHwptAlloc, fault_id) == 40 &&
              offsetof(IommuHwptAlloc, reserved2) == 44);

// The first two dwords of a stream table entry, little-endian.
struct IommuHwptArmSmmuv3 {
  uint64_t ste[2];
};
static_assert(sizeof(IommuHwptArmSmmuv3) == 16);

// IommuHwInfo::flags, ::data_type and ::out_capabilities
inline constexpr uint32_t kHwInfoInputType = 1;
inline constexpr uint32_t kHwInfoDefault = 0;
inline constexpr uint32_t kHwInfoVtd = 1;
inline constexpr uint32_t kHwInfoArmSmmuv3 = 2;
inline constexpr uint32_t kHwInfoTegra241Cmdqv = 3;
inline constexpr uint32_t kHwInfoAmd = 4;
inline constexpr uint64_t kHwCapDirtyTracking = 1;
inline constexpr uint64_t kHwCapPciPasidExec = 2;
inline constexpr uint64_t kHwCapPciPasidPriv = 4;
inline constexpr uint64_t kHwCapPciAtsNotSupported = 8;

struct IommuHwInfo {
  uint32_t size;
  uint32_t flags;
  uint32_t dev_id;
  uint32_t data_len;  // in: room; out: what the kernel has
  uint64_t data_uptr;
  uint32_t data_type;  // in with kHwInfoInputType; out
  uint8_t out_max_pasid_log2;
  uint8_t reserved[3];
  uint64_t out_capabilities;
};
static_assert(sizeof(IommuHwInfo) == 40 && offsetof(IommuHwInfo, flags) == 4 &&
              offsetof(IommuHwInfo, dev_id) == 8 && offsetof(IommuHwInfo, data_len) == 12 &&
              offsetof(IommuHwInfo, data_uptr) == 16 && offsetof(IommuHwInfo, data_type) == 24 &&
              offsetof(IommuHwInfo, out_max_pasid_log2) == 28 &&
              offsetof(IommuHwInfo, reserved) == 29 &&
              offsetof(IommuHwInfo, out_capabilities) == 32);

// IommuHwInfoArmSmmuv3::flags
inline constexpr uint32_t kHwInfoArmSmmuv3RepeatTlbiCfgi = 1;

struct IommuHwInfoArmSmmuv3 {
  uint32_t flags;
  uint32_t reserved;
  uint32_t idr[6];
  uint32_t iidr;
  uint32_t aidr;
};
static_assert(sizeof(IommuHwInfoArmSmmuv3) == 40 && offsetof(IommuHwInfoArmSmmuv3, idr) == 8 &&
              offsetof(IommuHwInfoArmSmmuv3, iidr) == 32 &&
              offsetof(IommuHwInfoArmSmmuv3, aidr) == 36);

struct IommuHwInfoTegra241Cmdqv {
  uint32_t flags;
  uint8_t version;
  uint8_t log2vcmdqs;  // per VINTF
  uint8_t log2vsids;   // per VINTF
  uint8_t reserved;
};
static_assert(sizeof(IommuHwInfoTegra241Cmdqv) == 8 &&
              offsetof(IommuHwInfoTegra241Cmdqv, version) == 4 &&
              offsetof(IommuHwInfoTegra241Cmdqv, log2vcmdqs) == 5 &&
              offsetof(IommuHwInfoTegra241Cmdqv, log2vsids) == 6 &&
              offsetof(IommuHwInfoTegra241Cmdqv, reserved) == 7);

// IommuHwptSetDirtyTracking::flags
inline constexpr uint32_t kHwptDirtyTrackingEnable = 1;

struct IommuHwptSetDirtyTracking {
  uint32_t size;
  uint32_t flags;
  uint32_t hwpt_id;
  uint32_t reserved;
};
static_assert(sizeof(IommuHwptSetDirtyTracking) == 16 &&
              offsetof(IommuHwptSetDirtyTracking, flags) == 4 &&
              offsetof(IommuHwptSetDirtyTracking, hwpt_id) == 8 &&
              offsetof(IommuHwptSetDirtyTracking, reserved) == 12);

// IommuHwptGetDirtyBitmap::flags
inline constexpr uint32_t kHwptGetDirtyBitmapNoClear = 1;

struct IommuHwptGetDirtyBitmap {
  uint32_t size;
  uint32_t hwpt_id;
  uint32_t flags;
  uint32_t reserved;
  uint64_t iova;
  uint64_t length;
  uint64_t page_size;  // bytes that one bit stands for
  uint64_t data;       // u64[]: bit (iova / page_size) % 64 of word (iova / page_size) / 64
};
static_assert(sizeof(IommuHwptGetDirtyBitmap) == 48 &&
              offsetof(IommuHwptGetDirtyBitmap, hwpt_id) == 4 &&
              offsetof(IommuHwptGetDirtyBitmap, flags) == 8 &&
              offsetof(IommuHwptGetDirtyBitmap, reserved) == 12 &&
              offsetof(IommuHwptGetDirtyBitmap, iova) == 16 &&
              offsetof(IommuHwptGetDirtyBitmap, length) == 24 &&
              offsetof(IommuHwptGetDirtyBitmap, page_size) == 32 &&
              offsetof(IommuHwptGetDirtyBitmap, data) == 40);

// IommuHwptInvalidate::data_type
inline constexpr uint32_t kHwptInvalidateVtdS1 = 0;
inline constexpr uint32_t kViommuInvalidateArmSmmuv3 = 1;

struct IommuHwptInvalidate {
  uint32_t size;
  uint32_t hwpt_id;  // an HWPT or a vIOMMU
  uint64_t data_uptr;
  uint32_t data_type;
  uint32_t entry_len;
  uint32_t entry_num;  // out: how many were handled, also on error
  uint32_t reserved;
};
static_assert(sizeof(IommuHwptInvalidate) == 32 && offsetof(IommuHwptInvalidate, hwpt_id) == 4 &&
              offsetof(IommuHwptInvalidate, data_uptr) == 8 &&
              offsetof(IommuHwptInvalidate, data_type) == 16 &&
              offsetof(IommuHwptInvalidate, entry_len) == 20 &&
              offsetof(IommuHwptInvalidate, entry_num) == 24 &&
              offsetof(IommuHwptInvalidate, reserved) == 28);

// A raw SMMUv3 command, little-endian.
struct IommuViommuArmSmmuv3Invalidate {
  uint64_t cmd[2];
};
static_assert(sizeof(IommuViommuArmSmmuv3Invalidate) == 16);

// More entries than this are EINVAL; 2^19 itself is ENOMEM, because the kernel copies all at once.
inline constexpr uint32_t kHwptInvalidateMaxEntries = 1U << 19;

// IommuViommuAlloc::type
inline constexpr uint32_t kViommuTypeDefault = 0;
inline constexpr uint32_t kViommuTypeArmSmmuv3 = 1;
inline constexpr uint32_t kViommuTypeTegra241Cmdqv = 2;

struct IommuViommuAlloc {
  uint32_t size;
  uint32_t flags;
  uint32_t type;
  uint32_t dev_id;
  uint32_t hwpt_id;  // the nesting parent
  uint32_t out_viommu_id;
  uint32_t data_len;
  uint32_t reserved;
  uint64_t data_uptr;
};
static_assert(sizeof(IommuViommuAlloc) == 40 && offsetof(IommuViommuAlloc, flags) == 4 &&
              offsetof(IommuViommuAlloc, type) == 8 && offsetof(IommuViommuAlloc, dev_id) == 12 &&
              offsetof(IommuViommuAlloc, hwpt_id) == 16 &&
              offsetof(IommuViommuAlloc, out_viommu_id) == 20 &&
              offsetof(IommuViommuAlloc, data_len) == 24 &&
              offsetof(IommuViommuAlloc, reserved) == 28 &&
              offsetof(IommuViommuAlloc, data_uptr) == 32);

// What mmap(2) of the context needs to map page0; offset 0 is never handed out.
struct IommuViommuTegra241Cmdqv {
  uint64_t out_vintf_mmap_offset;
  uint64_t out_vintf_mmap_length;
};
static_assert(sizeof(IommuViommuTegra241Cmdqv) == 16 &&
              offsetof(IommuViommuTegra241Cmdqv, out_vintf_mmap_length) == 8);

struct IommuVdeviceAlloc {
  uint32_t size;
  uint32_t viommu_id;
  uint32_t dev_id;
  uint32_t out_vdevice_id;
  uint64_t virt_id;  // the vSID
};
static_assert(sizeof(IommuVdeviceAlloc) == 24 && offsetof(IommuVdeviceAlloc, viommu_id) == 4 &&
              offsetof(IommuVdeviceAlloc, dev_id) == 8 &&
              offsetof(IommuVdeviceAlloc, out_vdevice_id) == 12 &&
              offsetof(IommuVdeviceAlloc, virt_id) == 16);

struct IommuIoasChangeProcess {
  uint32_t size;
  uint32_t reserved;
};
static_assert(sizeof(IommuIoasChangeProcess) == 8 &&
              offsetof(IommuIoasChangeProcess, reserved) == 4);

// IommuVeventqAlloc::type
inline constexpr uint32_t kVeventqTypeDefault = 0;
inline constexpr uint32_t kVeventqTypeArmSmmuv3 = 1;
inline constexpr uint32_t kVeventqTypeTegra241Cmdqv = 2;
inline constexpr uint32_t kVeventqMaxDepth = 1U << 19;

struct IommuVeventqAlloc {
  uint32_t size;
  uint32_t flags;
  uint32_t viommu_id;
  uint32_t type;
  uint32_t veventq_depth;
  uint32_t out_veventq_id;
  int32_t out_veventq_fd;
  uint32_t reserved;
};
static_assert(sizeof(IommuVeventqAlloc) == 32 && offsetof(IommuVeventqAlloc, flags) == 4 &&
              offsetof(IommuVeventqAlloc, viommu_id) == 8 &&
              offsetof(IommuVeventqAlloc, type) == 12 &&
              offsetof(IommuVeventqAlloc, veventq_depth) == 16 &&
              offsetof(IommuVeventqAlloc, out_veventq_id) == 20 &&
              offsetof(IommuVeventqAlloc, out_veventq_fd) == 24 &&
              offsetof(IommuVeventqAlloc, reserved) == 28);

// IommufdVeventHeader::flags. A lost-events record is the header alone, and always the last record.
inline constexpr uint32_t kVeventLostEvents = 1;
// sequence runs 0 .. kVeventMaxSequence, then 0 again.
inline constexpr uint32_t kVeventMaxSequence = 0x7fffffff;

struct IommufdVeventHeader {
  uint32_t flags;
  uint32_t sequence;
};
static_assert(sizeof(IommufdVeventHeader) == 8 && offsetof(IommufdVeventHeader, sequence) == 4);

// The event record of the SMMU, little-endian; the StreamID in it is the vSID.
struct IommuVeventArmSmmuv3 {
  uint64_t evt[4];
};
static_assert(sizeof(IommuVeventArmSmmuv3) == 32);

// Bit l of the map: LVCMDQ l has an error. Little-endian.
struct IommuVeventTegra241Cmdqv {
  uint64_t lvcmdq_err_map[2];
};
static_assert(sizeof(IommuVeventTegra241Cmdqv) == 16);

// IommuHwQueueAlloc::type
inline constexpr uint32_t kHwQueueTypeDefault = 0;
inline constexpr uint32_t kHwQueueTypeTegra241Cmdqv = 1;

struct IommuHwQueueAlloc {
  uint32_t size;
  uint32_t flags;
  uint32_t viommu_id;
  uint32_t type;
  uint32_t index;
  uint32_t out_hw_queue_id;
  uint64_t nesting_parent_iova;
  uint64_t length;  // bytes
};
static_assert(sizeof(IommuHwQueueAlloc) == 40 && offsetof(IommuHwQueueAlloc, flags) == 4 &&
              offsetof(IommuHwQueueAlloc, viommu_id) == 8 &&
              offsetof(IommuHwQueueAlloc, type) == 12 && offsetof(IommuHwQueueAlloc, index) == 16 &&
              offsetof(IommuHwQueueAlloc, out_hw_queue_id) == 20 &&
              offsetof(IommuHwQueueAlloc, nesting_parent_iova) == 24 &&
              offsetof(IommuHwQueueAlloc, length) == 32);

struct IommuFaultAlloc {
  uint32_t size;
  uint32_t flags;
  uint32_t out_fault_id;
  int32_t out_fault_fd;
};
static_assert(sizeof(IommuFaultAlloc) == 16 && offsetof(IommuFaultAlloc, flags) == 4 &&
              offsetof(IommuFaultAlloc, out_fault_id) == 8 &&
              offsetof(IommuFaultAlloc, out_fault_fd) == 12);

}  // namespace berth::uapi

#endif  // BERTH_LIB_IOMMUFD_UAPI_IOMMUFD_H_
