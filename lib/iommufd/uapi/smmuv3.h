// SPDX-License-Identifier: Apache-2.0
//
// The formats of the Arm SMMUv3 that cross the iommufd interface raw: commands, stream table
// entries, event records, ID registers, and the registers of a VCMDQ in page0. Sources: Arm IHI
// 0070; Linux drivers/iommu/arm/arm-smmu-v3/{arm-smmu-v3.h,arm-smmu-v3-iommufd.c,
// tegra241-cmdqv.c}.
#ifndef BERTH_LIB_IOMMUFD_UAPI_SMMUV3_H_
#define BERTH_LIB_IOMMUFD_UAPI_SMMUV3_H_

#include <cstddef>
#include <cstdint>

namespace berth::uapi {

// Bits `low` to `high`, inclusive, of a 64-bit word (or 32-bit register).
struct BitField {
  unsigned low;
  unsigned high;

  [[nodiscard]] constexpr uint64_t max() const { return ~uint64_t{0} >> (63 - (high - low)); }
  [[nodiscard]] constexpr uint64_t mask() const { return max() << low; }
  [[nodiscard]] constexpr uint64_t Get(uint64_t word) const { return (word >> low) & max(); }
  // `value` in its place; bits that do not fit are cut off.
  [[nodiscard]] constexpr uint64_t Put(uint64_t value) const { return (value & max()) << low; }
};

// ---- Commands: two little-endian dwords, cmd[0] and cmd[1].
inline constexpr uint8_t kCmdPrefetchConfig = 0x01;
inline constexpr uint8_t kCmdCfgiSte = 0x03;
inline constexpr uint8_t kCmdCfgiAll = 0x04;
inline constexpr uint8_t kCmdCfgiCd = 0x05;
inline constexpr uint8_t kCmdCfgiCdAll = 0x06;
inline constexpr uint8_t kCmdTlbiNhAll = 0x10;
inline constexpr uint8_t kCmdTlbiNhAsid = 0x11;
inline constexpr uint8_t kCmdTlbiNhVa = 0x12;
inline constexpr uint8_t kCmdTlbiNhVaa = 0x13;
inline constexpr uint8_t kCmdTlbiEl2All = 0x20;
inline constexpr uint8_t kCmdTlbiEl2Asid = 0x21;
inline constexpr uint8_t kCmdTlbiEl2Va = 0x22;
inline constexpr uint8_t kCmdTlbiS12Vmall = 0x28;
inline constexpr uint8_t kCmdTlbiS2Ipa = 0x2a;
inline constexpr uint8_t kCmdTlbiNsnhAll = 0x30;
inline constexpr uint8_t kCmdAtcInv = 0x40;
inline constexpr uint8_t kCmdPriResp = 0x41;
inline constexpr uint8_t kCmdResume = 0x44;
inline constexpr uint8_t kCmdSync = 0x46;

// All commands, cmd[0]
inline constexpr BitField kCmd0Opcode = {0, 7};
inline constexpr BitField kCmd0Ssv = {11, 11};
// CFGI_*
inline constexpr BitField kCfgi0Ssid = {12, 31};
inline constexpr BitField kCfgi0Sid = {32, 63};
inline constexpr BitField kCfgi1Leaf = {0, 0};
inline constexpr BitField kCfgi1Range = {0, 4};
// TLBI_*; NUM, SCALE, TTL and TG only where IDR3.RIL
inline constexpr BitField kTlbi0Num = {12, 16};
inline constexpr BitField kTlbi0Scale = {20, 24};
inline constexpr BitField kTlbi0Vmid = {32, 47};
inline constexpr BitField kTlbi0Asid = {48, 63};
inline constexpr BitField kTlbi1Leaf = {0, 0};
inline constexpr BitField kTlbi1Ttl = {8, 9};
inline constexpr BitField kTlbi1Tg = {10, 11};
inline constexpr BitField kTlbi1Address = {12, 63};  // VA >> 12
// ATC_INV
inline constexpr BitField kAtc0Global = {9, 9};
inline constexpr BitField kAtc0Ssid = {12, 31};
inline constexpr BitField kAtc0Sid = {32, 63};
inline constexpr BitField kAtc1Size = {0, 5};  // log2 of 4 KiB pages, at most 52
inline constexpr BitField kAtc1Address = {12, 63};
inline constexpr uint64_t kAtcMaxSize = 52;
// CMD_SYNC
inline constexpr BitField kSync0Cs = {12, 13};
inline constexpr uint64_t kSyncCsNone = 0;
inline constexpr uint64_t kSyncCsIrq = 1;
inline constexpr uint64_t kSyncCsSev = 2;

// ---- Stream table entry: the bits that a guest may set (all else is EIO at HWPT_ALLOC).
inline constexpr BitField kSte0Valid = {0, 0};
inline constexpr BitField kSte0Config = {1, 3};
inline constexpr BitField kSte0S1Fmt = {4, 5};
inline constexpr BitField kSte0S1ContextPtr = {6, 51};
inline constexpr BitField kSte0S1CdMax = {59, 63};
inline constexpr BitField kSte1S1Dss = {0, 1};
inline constexpr BitField kSte1S1Cir = {2, 3};
inline constexpr BitField kSte1S1Cor = {4, 5};
inline constexpr BitField kSte1S1Csh = {6, 7};
inline constexpr BitField kSte1S1Stalld = {27, 27};
inline constexpr BitField kSte1Eats = {28, 29};
inline constexpr uint64_t kSte0GuestMask = kSte0Valid.mask() | kSte0Config.mask() |
                                           kSte0S1Fmt.mask() | kSte0S1ContextPtr.mask() |
                                           kSte0S1CdMax.mask();
inline constexpr uint64_t kSte1GuestMask = kSte1S1Dss.mask() | kSte1S1Cir.mask() |
                                           kSte1S1Cor.mask() | kSte1S1Csh.mask() |
                                           kSte1S1Stalld.mask() | kSte1Eats.mask();
// kSte0Config, as a guest means it: bypass is "stage 2 only" for the host.
inline constexpr uint64_t kSteConfigAbort = 0;
inline constexpr uint64_t kSteConfigBypass = 4;
inline constexpr uint64_t kSteConfigS1Translate = 5;
// kSte1Eats
inline constexpr uint64_t kSteEatsAbort = 0;
inline constexpr uint64_t kSteEatsTranslate = 1;

// The vSTEs of the two HWPTs that every vIOMMU has.
inline constexpr uint64_t kSteAbort[2] = {kSte0Valid.Put(1) | kSte0Config.Put(kSteConfigAbort), 0};
inline constexpr uint64_t kSteBypass[2] = {kSte0Valid.Put(1) | kSte0Config.Put(kSteConfigBypass),
                                           0};

// ---- Event records: four little-endian dwords.
inline constexpr uint8_t kEvtCBadSte = 0x04;
inline constexpr uint8_t kEvtFStreamDisabled = 0x06;
inline constexpr uint8_t kEvtCBadSubstreamid = 0x08;
inline constexpr uint8_t kEvtCBadCd = 0x0a;
inline constexpr uint8_t kEvtFTranslation = 0x10;
inline constexpr uint8_t kEvtFAddrSize = 0x11;
inline constexpr uint8_t kEvtFAccess = 0x12;
inline constexpr uint8_t kEvtFPermission = 0x13;
inline constexpr BitField kEvt0Id = {0, 7};
inline constexpr BitField kEvt0Ssv = {11, 11};
inline constexpr BitField kEvt0Ssid = {12, 31};
inline constexpr BitField kEvt0Sid = {32, 63};
inline constexpr BitField kEvt1Stall = {31, 31};
inline constexpr BitField kEvt1Rnw = {35, 35};
inline constexpr BitField kEvt1S2 = {39, 39};
inline constexpr BitField kEvt1Class = {40, 41};
// evt[2] is the input address.

// ---- ID registers, as GET_HW_INFO reports them (IommuHwInfoArmSmmuv3::idr).
inline constexpr BitField kIdr0S2p = {0, 0};
inline constexpr BitField kIdr0S1p = {1, 1};
inline constexpr BitField kIdr0Ttf = {2, 3};
inline constexpr BitField kIdr0Cohacc = {4, 4};
inline constexpr BitField kIdr0Httu = {6, 7};
inline constexpr uint64_t kIdr0HttuDirty = 2;  // access flag and dirty state
inline constexpr BitField kIdr0Ats = {10, 10};
inline constexpr BitField kIdr0Asid16 = {12, 12};
inline constexpr BitField kIdr0Pri = {16, 16};
inline constexpr BitField kIdr0Vmid16 = {18, 18};
inline constexpr BitField kIdr0Cd2l = {19, 19};
inline constexpr BitField kIdr0Ttendian = {21, 22};
inline constexpr BitField kIdr0StallModel = {24, 25};
inline constexpr BitField kIdr0TermModel = {26, 26};
inline constexpr BitField kIdr0StLevel = {27, 28};
inline constexpr BitField kIdr1SidSize = {0, 5};
inline constexpr BitField kIdr1SsidSize = {6, 10};
inline constexpr BitField kIdr1Priqs = {11, 15};
inline constexpr BitField kIdr1Evtqs = {16, 20};
inline constexpr BitField kIdr1Cmdqs = {21, 25};  // log2 of entries; a HW queue is at most this
inline constexpr BitField kIdr3Fwb = {8, 8};
inline constexpr BitField kIdr3Ril = {10, 10};
inline constexpr BitField kIdr3Bbml = {11, 12};
inline constexpr BitField kIdr5Oas = {0, 2};
inline constexpr BitField kIdr5Gran4k = {4, 4};
inline constexpr BitField kIdr5Gran16k = {5, 5};
inline constexpr BitField kIdr5Gran64k = {6, 6};
inline constexpr BitField kIdr5Vax = {10, 11};

// The window of the SMMU's software MSI: a hole in the IOVAs of every IOAS with a device.
inline constexpr uint64_t kSwMsiBase = 0x08000000;
inline constexpr uint64_t kSwMsiLength = 0x100000;

// ---- VCMDQ registers in page0: 32 bits, little-endian, at kLvcmdqStride * l of mapped_region.h.
inline constexpr size_t kVcmdqCons = 0x00;
inline constexpr size_t kVcmdqProd = 0x04;
inline constexpr size_t kVcmdqConfig = 0x08;
inline constexpr size_t kVcmdqStatus = 0x0c;
inline constexpr size_t kVcmdqGerror = 0x10;
inline constexpr size_t kVcmdqGerrorn = 0x14;
inline constexpr BitField kVcmdqConsIndex = {0, 19};  // with the wrap bit above the index
inline constexpr BitField kVcmdqConsError = {24, 30};
inline constexpr BitField kVcmdqProdIndex = {0, 19};
inline constexpr uint32_t kVcmdqConfigEnable = 1;
inline constexpr uint32_t kVcmdqStatusEnableOk = 1;
inline constexpr uint32_t kVcmdqGerrorCommand = 1;
inline constexpr uint32_t kVcmdqGerrorConsDramWriteAbort = 2;
inline constexpr uint32_t kVcmdqGerrorInit = 4;
// kVcmdqConsError
inline constexpr uint32_t kVcmdqErrorNone = 0;
inline constexpr uint32_t kVcmdqErrorIllegal = 1;
inline constexpr uint32_t kVcmdqErrorAbort = 2;
inline constexpr uint32_t kVcmdqErrorAtcTimeout = 3;
inline constexpr uint32_t kVcmdqErrorIllegalAccess = 4;

// vSIDs of a VINTF: SID_MATCH has this many bits.
inline constexpr unsigned kVsidBits = 20;
inline constexpr uint64_t kMinHwQueueLength = 32;  // bytes: two commands

}  // namespace berth::uapi

#endif  // BERTH_LIB_IOMMUFD_UAPI_SMMUV3_H_
