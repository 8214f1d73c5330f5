/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages between a VMM and the agent of its host, on the agent's SOCK_SEQPACKET socket. gRPC
 * carries no file descriptors; this does. libberth-vmm (berth_vmm.h) speaks it for you.
 *
 * Rules, on both sides:
 *  - One packet is one message. It begins with struct berth_vmm_header, whose first field is the
 *    size of the message; a packet of another length is BAD_MESSAGE, one that is longer than
 *    BERTH_VMM_MAX_MESSAGE is MESSAGE_TOO_LONG.
 *  - A message longer than the receiver's struct is accepted when the unknown tail is zero
 *    (UNKNOWN_TAIL else); one that is shorter than the fields of version 1 is MESSAGE_TOO_SHORT.
 *    Reserved fields and padding are zero (BAD_MESSAGE). Everything is in the byte order of the
 *    host.
 *  - The fds that the type takes travel with the packet by SCM_RIGHTS, no more (TOO_MANY_FDS) and
 *    no fewer (TOO_FEW_FDS); fd_count says how many they are (FD_COUNT).
 *  - The client speaks first: HELLO. Then one call at a time; each gets one reply with the same
 * type and call_id. A reply with a reason other than NONE has changed nothing.
 *  - call_id starts at 1 in a session and grows by 1 with each call. After a lost connection the
 *    client says HELLO with its session_id and may repeat its last call: the same bytes get the
 * same answer (fds included) and are executed once; other bytes are CALL_REPLAYED.
 *  - Each side assumes that the other is compromised.
 *  - A session is in one of two modes, that of its assignment. BROKERED: the agent does the ioctls;
 * every call but HAND_OFF and CONFIRM_HAND_OFF. HAND_OFF: the VMM does them, on fds that it is
 * given; HAND_OFF, CONFIRM_HAND_OFF and DETACH. A call of the other mode is UNKNOWN_MESSAGE.
 *  - Events come on a socket of their own, which the reply to HELLO carries: one packet is one
 * struct berth_vmm_event. What is not read there stays in the kernel's queue, which drops and
 * counts.
 *
 * Addresses (iova) are guest physical addresses. Units and devices are named by their index in the
 * grant: 0 .. unit_count-1, 0 .. device_count-1 of the reply to HELLO.
 */
#ifndef BERTH_LIB_VMM_BERTH_VMM_WIRE_H_
#define BERTH_LIB_VMM_BERTH_VMM_WIRE_H_

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BERTH_VMM_VERSION 1u

/* Longest packet, either way. */
#define BERTH_VMM_MAX_MESSAGE 65536u
/* Most fds in a packet to the agent, and in every reply but that of HAND_OFF. */
#define BERTH_VMM_MAX_FDS 1u
/* Commands in one INVALIDATE. */
#define BERTH_VMM_MAX_COMMANDS 2048u
/* Ranges in one reply to GET_IOVA_RANGES. */
#define BERTH_VMM_MAX_RANGES 64u
/* Devices in one reply to HAND_OFF; it carries one fd more. */
#define BERTH_VMM_MAX_HAND_OFF_DEVICES 128u

enum berth_vmm_type {
  BERTH_VMM_HELLO = 1,
  BERTH_VMM_GET_UNIT = 2,
  BERTH_VMM_GET_DEVICE = 3,
  BERTH_VMM_GET_PAGE0 = 4,
  BERTH_VMM_GET_IOVA_RANGES = 5,
  BERTH_VMM_MAP_MEMORY = 6,
  BERTH_VMM_UNMAP_MEMORY = 7,
  BERTH_VMM_SET_STREAM = 8,
  BERTH_VMM_ALLOC_QUEUE = 9,
  BERTH_VMM_FREE_QUEUE = 10,
  BERTH_VMM_INVALIDATE = 11,
  BERTH_VMM_RESET_GUEST = 12,
  BERTH_VMM_DETACH = 13,
  BERTH_VMM_HAND_OFF = 14,
  BERTH_VMM_CONFIRM_HAND_OFF = 15,
  /* Only on the event socket. */
  BERTH_VMM_EVENT = 64,
};

/* Why a call failed: numbers of berth.v1.ErrorReason. */
enum berth_vmm_reason {
  BERTH_VMM_REASON_NONE = 0,
  BERTH_VMM_REASON_INTERNAL = 1,
  BERTH_VMM_REASON_INVALID_FIELD = 2,
  BERTH_VMM_REASON_MISSING_FIELD = 3,
  BERTH_VMM_REASON_UNKNOWN_FIELD = 4,
  BERTH_VMM_REASON_TOO_LARGE = 5,
  BERTH_VMM_REASON_UNSUPPORTED = 6,
  BERTH_VMM_REASON_NOT_FOUND = 7,
  BERTH_VMM_REASON_ALREADY_EXISTS = 8,
  BERTH_VMM_REASON_REQUEST_ID_REUSED = 9,
  BERTH_VMM_REASON_ETAG_MISMATCH = 10,
  BERTH_VMM_REASON_PERMISSION_DENIED = 11,
  BERTH_VMM_REASON_UNAUTHENTICATED = 12,
  BERTH_VMM_REASON_INVALID_PAGE_TOKEN = 13,
  BERTH_VMM_REASON_REVISION_COMPACTED = 14,
  BERTH_VMM_REASON_REVISION_UNKNOWN = 15,
  BERTH_VMM_REASON_WATCH_OVERFLOW = 16,
  BERTH_VMM_REASON_CANCELLED = 17,
  BERTH_VMM_REASON_DEADLINE_EXCEEDED = 18,
  BERTH_VMM_REASON_UNAVAILABLE = 19,
  BERTH_VMM_REASON_OVERLOADED = 20,
  BERTH_VMM_REASON_SHUTTING_DOWN = 21,
  BERTH_VMM_REASON_NO_CAPACITY = 50,
  BERTH_VMM_REASON_UNSATISFIABLE = 51,
  BERTH_VMM_REASON_QUOTA_EXCEEDED = 52,
  BERTH_VMM_REASON_HOST_NOT_READY = 53,
  BERTH_VMM_REASON_PREPARE_FAILED = 54,
  BERTH_VMM_REASON_FENCED = 55,
  BERTH_VMM_REASON_HOST_NAME_TAKEN = 56,
  BERTH_VMM_REASON_VERSION_SKEW = 57,
  BERTH_VMM_REASON_BAD_INVENTORY = 58,
  BERTH_VMM_REASON_STATE_CONFLICT = 59,
  BERTH_VMM_REASON_STORE_FAILED = 60,
  BERTH_VMM_REASON_STORE_CORRUPT = 61,
  BERTH_VMM_REASON_STORE_LOCKED = 62,
  BERTH_VMM_REASON_NOT_LEADER = 63,
  BERTH_VMM_REASON_DEVICE_BUSY = 100,
  BERTH_VMM_REASON_DEVICE_GONE = 101,
  BERTH_VMM_REASON_VINTF_EXHAUSTED = 102,
  BERTH_VMM_REASON_SID_SLOTS_EXHAUSTED = 103,
  BERTH_VMM_REASON_KERNEL_FEATURE_MISSING = 104,
  BERTH_VMM_REASON_AGENT_PRIVILEGE = 105,
  BERTH_VMM_REASON_KERNEL_REFUSED = 106,
  BERTH_VMM_REASON_HARDWARE_TIMEOUT = 107,
  BERTH_VMM_REASON_KERNEL_GONE = 108,
  BERTH_VMM_REASON_OUT_OF_MEMORY = 109,
  BERTH_VMM_REASON_SYSTEM_ERROR = 110,
  BERTH_VMM_REASON_BAD_MESSAGE = 150,
  BERTH_VMM_REASON_UNKNOWN_TAIL = 151,
  BERTH_VMM_REASON_UNKNOWN_MESSAGE = 152,
  BERTH_VMM_REASON_FD_COUNT = 153,
  BERTH_VMM_REASON_NO_SESSION = 154,
  BERTH_VMM_REASON_SESSION_UNKNOWN = 155,
  BERTH_VMM_REASON_CALL_REPLAYED = 156,
  BERTH_VMM_REASON_WRONG_TOKEN = 157,
  BERTH_VMM_REASON_WRONG_USER = 158,
  BERTH_VMM_REASON_UNKNOWN_ASSIGNMENT = 159,
  BERTH_VMM_REASON_ALREADY_ATTACHED = 160,
  BERTH_VMM_REASON_NOT_READY = 161,
  BERTH_VMM_REASON_MEMORY_NOT_SEALED = 162,
  BERTH_VMM_REASON_MEMORY_NOT_MEMFD = 163,
  BERTH_VMM_REASON_MEMORY_OVERLAP = 164,
  BERTH_VMM_REASON_MEMORY_RESERVED = 165,
  BERTH_VMM_REASON_MEMORY_LIMIT = 166,
  BERTH_VMM_REASON_MEMORY_UNKNOWN = 167,
  BERTH_VMM_REASON_MEMORY_IN_USE = 168,
  BERTH_VMM_REASON_QUEUE_ORDER = 169,
  BERTH_VMM_REASON_QUEUE_INDEX = 170,
  BERTH_VMM_REASON_QUEUE_SIZE = 171,
  BERTH_VMM_REASON_QUEUE_EXISTS = 172,
  BERTH_VMM_REASON_QUEUE_NOT_CONTIGUOUS = 173,
  BERTH_VMM_REASON_QUEUE_UNKNOWN = 174,
  BERTH_VMM_REASON_UNIT_UNKNOWN = 175,
  BERTH_VMM_REASON_DEVICE_UNKNOWN = 176,
  BERTH_VMM_REASON_BAD_STREAM_TABLE_ENTRY = 177,
  BERTH_VMM_REASON_VSID_IN_USE = 178,
  BERTH_VMM_REASON_VSID_RANGE = 179,
  BERTH_VMM_REASON_BAD_COMMAND = 180,
  BERTH_VMM_REASON_ALIGNMENT = 181,
  BERTH_VMM_REASON_MEMORY_TOO_SHORT = 182,
  BERTH_VMM_REASON_STILL_MAPPED = 183,
  BERTH_VMM_REASON_MESSAGE_TOO_SHORT = 184,
  BERTH_VMM_REASON_MESSAGE_TOO_LONG = 185,
  BERTH_VMM_REASON_TOO_FEW_FDS = 186,
  BERTH_VMM_REASON_TOO_MANY_FDS = 187,
};

struct berth_vmm_header {
  uint32_t size;       /* of the whole message, this header included; bytes */
  uint16_t type;       /* enum berth_vmm_type; a reply has that of its call */
  uint16_t fd_count;   /* fds that travel with this packet */
  uint64_t session_id; /* 0 in the HELLO of a new session */
  uint64_t call_id;
};

/* Begins every reply. When reason is not NONE the reply may end here. */
struct berth_vmm_reply {
  struct berth_vmm_header header;
  uint32_t reason;       /* enum berth_vmm_reason */
  uint32_t error_number; /* errno of the kernel call that failed, or 0 */
  char message[240];     /* for people, NUL-terminated; empty on success */
};

/* HELLO: attaches to an assignment, or, with session_id set, takes a session up again.
 * Errors: UNKNOWN_ASSIGNMENT, WRONG_TOKEN, WRONG_USER, ALREADY_ATTACHED, NOT_READY, VERSION_SKEW,
 * SESSION_UNKNOWN, STATE_CONFLICT (the assignment has the other mode; that is checked after the
 * token). An agent from before HAND_OFF answers INVALID_FIELD to the flag. */
enum berth_vmm_hello_flags {
  BERTH_VMM_HELLO_HAND_OFF = 1, /* the client wants the fds; without: BROKERED */
};

enum berth_vmm_attach_mode { /* berth.v1.AssignmentSpec.AttachMode */
                             BERTH_VMM_ATTACH_MODE_BROKERED = 1,
                             BERTH_VMM_ATTACH_MODE_HAND_OFF = 2,
};

struct berth_vmm_hello {
  struct berth_vmm_header header; /* call_id 0 */
  uint32_t version_min;           /* versions that the client speaks */
  uint32_t version_max;
  uint32_t flags; /* enum berth_vmm_hello_flags */
  uint32_t reserved;
  char assignment_uid[64]; /* NUL-terminated */
  char token[128];         /* NUL-terminated */
};

struct berth_vmm_hello_reply {
  struct berth_vmm_reply reply; /* header.session_id is the session from now on; 1 fd: events */
  uint32_t version;             /* that both speak */
  uint32_t unit_count;
  uint32_t device_count;
  uint32_t max_regions;    /* MAP_MEMORY regions at once */
  uint64_t memory_limit;   /* bytes that may be registered */
  uint64_t iova_alignment; /* bytes: addresses, offsets and lengths of memory are multiples */
  uint64_t last_call_id;   /* the last call that was executed in this session; 0 in a new one */
  uint32_t isolation;      /* berth.v1.AssignmentSpec.Isolation */
  uint32_t attach_mode;    /* enum berth_vmm_attach_mode; 0, of an older agent: BROKERED */
};

/* GET_UNIT: what a vSMMU needs to know of one unit. Errors: UNIT_UNKNOWN. */
struct berth_vmm_get_unit {
  struct berth_vmm_header header;
  uint32_t unit;
  uint32_t reserved;
};

struct berth_vmm_unit_reply {
  struct berth_vmm_reply reply;
  char id[64];                /* name under /sys/class/iommu */
  uint32_t profile;           /* berth.v1.Unit.Profile */
  uint32_t vcmdqs;            /* HW queues that may be allocated, indices 0 .. vcmdqs-1 */
  uint32_t sid_slots;         /* vSIDs that may be set */
  uint32_t max_queue_log2;    /* log2 of the entries (16 bytes each) of the largest queue */
  uint32_t hw_info_type;      /* IOMMU_GET_HW_INFO out_data_type of the IOMMU */
  uint32_t hw_info_length;    /* bytes of hw_info that are valid */
  uint8_t hw_info[128];       /* raw, as the kernel gave it */
  uint32_t cmdqv_info_length; /* bytes of cmdqv_info; 0: no queues */
  uint32_t reserved;
  uint8_t cmdqv_info[16]; /* raw IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV data */
};

/* GET_DEVICE: a device and its VFIO cdev, bound and attached. 1 fd. Errors: DEVICE_UNKNOWN. */
struct berth_vmm_get_device {
  struct berth_vmm_header header;
  uint32_t device;
  uint32_t reserved;
};

struct berth_vmm_device_reply {
  struct berth_vmm_reply reply; /* 1 fd: the cdev */
  char address[16];             /* "0000:01:00.0" */
  char id[112];                 /* Berth's device id */
  uint32_t unit;                /* index of the unit in front of it */
  uint32_t vendor_id;
  uint32_t device_id;
  uint32_t pci_class;
};

/* GET_PAGE0: what to mmap, MAP_SHARED, read and write, to drive the VINTF of a unit: exactly length
 * bytes at offset. 1 fd. Errors: UNIT_UNKNOWN, UNSUPPORTED (a unit without queues). */
enum berth_vmm_region_kind {
  BERTH_VMM_REGION_IOMMUFD = 1, /* the fd is authority over the whole context */
  BERTH_VMM_REGION_MEMFD = 2,   /* the fd is this region alone */
};

struct berth_vmm_get_page0 {
  struct berth_vmm_header header;
  uint32_t unit;
  uint32_t reserved;
};

struct berth_vmm_page0_reply {
  struct berth_vmm_reply reply; /* 1 fd */
  uint32_t kind;                /* enum berth_vmm_region_kind */
  uint32_t reserved;
  uint64_t offset; /* bytes */
  uint64_t length; /* bytes */
};

/* GET_IOVA_RANGES: where guest memory may lie. Errors: none of its own. */
struct berth_vmm_get_iova_ranges {
  struct berth_vmm_header header;
};

struct berth_vmm_range {
  uint64_t first; /* both inclusive */
  uint64_t last;
};

struct berth_vmm_iova_ranges_reply {
  struct berth_vmm_reply reply;
  uint32_t range_count; /* valid entries of ranges, ascending */
  uint32_t reserved;
  struct berth_vmm_range ranges[BERTH_VMM_MAX_RANGES];
};

/* MAP_MEMORY: makes a part of a memfd guest memory. The memfd must be sealed with F_SEAL_SHRINK.
 * 1 fd. Errors: MEMORY_NOT_MEMFD, MEMORY_NOT_SEALED, MEMORY_TOO_SHORT, MEMORY_OVERLAP,
 * MEMORY_RESERVED, MEMORY_LIMIT, ALIGNMENT. */
enum berth_vmm_memory_flags {
  BERTH_VMM_MEMORY_READ = 1,
  BERTH_VMM_MEMORY_WRITE = 2,
};

struct berth_vmm_map_memory {
  struct berth_vmm_header header; /* 1 fd */
  uint64_t iova;
  uint64_t offset; /* in the memfd, bytes */
  uint64_t length; /* bytes */
  uint32_t flags;  /* enum berth_vmm_memory_flags, at least one */
  uint32_t reserved;
};

/* UNMAP_MEMORY: takes back exactly one region that MAP_MEMORY made.
 * Errors: MEMORY_UNKNOWN, MEMORY_IN_USE. */
struct berth_vmm_unmap_memory {
  struct berth_vmm_header header;
  uint64_t iova;
  uint64_t length;
};

/* SET_STREAM: what the guest's stream table entry for a device says. Setting TRANSLATE or BYPASS
 * gives the device its vSID (SID slot); another vSID for the same device takes the place of the old
 * one. Errors: DEVICE_UNKNOWN, VSID_RANGE, VSID_IN_USE, SID_SLOTS_EXHAUSTED,
 * BAD_STREAM_TABLE_ENTRY. */
enum berth_vmm_stream_mode {
  BERTH_VMM_STREAM_ABORT = 1,
  BERTH_VMM_STREAM_BYPASS = 2,
  BERTH_VMM_STREAM_TRANSLATE = 3,
};

struct berth_vmm_set_stream {
  struct berth_vmm_header header;
  uint32_t device;
  uint32_t vsid; /* 20 bits */
  uint32_t mode; /* enum berth_vmm_stream_mode */
  uint32_t reserved;
  uint64_t ste[2]; /* TRANSLATE: the first two doublewords of the guest's STE; else 0 */
};

/* ALLOC_QUEUE: hands a ring of the guest to the VINTF. Upward from index 0. The ring is physically
 * contiguous and naturally aligned, its length a power of two from 32 bytes to 16 <<
 * max_queue_log2. Errors: UNIT_UNKNOWN, QUEUE_INDEX, QUEUE_ORDER, QUEUE_EXISTS, QUEUE_SIZE,
 * QUEUE_NOT_CONTIGUOUS, MEMORY_UNKNOWN. */
struct berth_vmm_alloc_queue {
  struct berth_vmm_header header;
  uint32_t unit;
  uint32_t index;
  uint64_t iova;
  uint64_t length; /* bytes */
};

/* FREE_QUEUE: downward, the highest index first. Errors: QUEUE_UNKNOWN, QUEUE_ORDER. */
struct berth_vmm_free_queue {
  struct berth_vmm_header header;
  uint32_t unit;
  uint32_t index;
};

/* INVALIDATE: commands that the guest sent to its trapped queue (TLBI_*, CFGI_CD*, ATC_INV).
 * Errors: BAD_COMMAND at commands[handled], TOO_LARGE. */
struct berth_vmm_invalidate {
  struct berth_vmm_header header;
  uint32_t unit;
  uint32_t count; /* 1 .. BERTH_VMM_MAX_COMMANDS */
  /* followed by count commands of two uint64_t each */
};

struct berth_vmm_invalidate_reply {
  struct berth_vmm_reply reply;
  uint32_t handled; /* also set when reason is BAD_COMMAND */
  uint32_t reserved;
};

/* RESET_GUEST: the guest reboots. Queues are freed, streams set to ABORT, vSIDs given back; memory
 * and page0 stay. */
struct berth_vmm_reset_guest {
  struct berth_vmm_header header;
};

/* DETACH: the VMM is done. The session ends with the reply; unmap page0 and close every fd first.
 */
struct berth_vmm_detach {
  struct berth_vmm_header header;
};

/* HAND_OFF: everything that a VMM needs to do its own ioctls. The first fd is a fresh iommufd, with
 * RLIMIT_MODE set: memory is charged to the process that maps it, against its RLIMIT_MEMLOCK. Then
 * the VFIO cdevs, unbound, in the order of devices. Until CONFIRM_HAND_OFF the agent keeps its own
 * copies, and a repeated HAND_OFF gives the same fds again. Errors: STATE_CONFLICT (confirmed
 * already), those of opening: DEVICE_GONE, AGENT_PRIVILEGE, KERNEL_GONE. */
struct berth_vmm_hand_off {
  struct berth_vmm_header header;
};

struct berth_vmm_hand_off_device {
  char address[16]; /* "0000:01:00.0" */
  char id[112];     /* Berth's device id */
  char unit[64];    /* id of the unit in front of it: its name under /sys/class/iommu */
  uint32_t vendor_id;
  uint32_t device_id;
  uint32_t pci_class;
  uint32_t reserved;
};

struct berth_vmm_hand_off_reply {
  struct berth_vmm_reply reply; /* 1 + device_count fds */
  uint32_t device_count;        /* valid entries of devices */
  uint32_t reserved;
  struct berth_vmm_hand_off_device devices[BERTH_VMM_MAX_HAND_OFF_DEVICES];
};

/* CONFIRM_HAND_OFF: the fds have arrived; the agent closes its copies. From now on the session
 * lasts as long as the process that holds them, whatever becomes of the connection: without an fd
 * that is the process that said HELLO, across execve(2); with one, that of the pidfd
 * (pidfd_open(2)). The agent takes the caller's word for who holds them. When that process ends, or
 * with DETACH, the assignment is taken back, and it is not given out again before the devices are
 * proved free. 0 or 1 fd. Errors: STATE_CONFLICT (nothing was handed off, or confirmed already),
 * INVALID_FIELD (not a pidfd), UNSUPPORTED (the kernel tells the agent nothing about the process
 * that said HELLO: it lives in another pid namespace). */
struct berth_vmm_confirm_hand_off {
  struct berth_vmm_header header;
};

/* What the reply to MAP_MEMORY, UNMAP_MEMORY, SET_STREAM, ALLOC_QUEUE, FREE_QUEUE, RESET_GUEST,
 * DETACH and CONFIRM_HAND_OFF is. */
struct berth_vmm_empty_reply {
  struct berth_vmm_reply reply;
};

/* A vEVENTQ record of one unit. header.type EVENT, header.call_id counts events in the session. */
enum berth_vmm_event_source {
  BERTH_VMM_EVENT_SMMUV3 = 1, /* data: the SMMUv3 event record, with the vSID */
  BERTH_VMM_EVENT_CMDQV = 2,  /* data[0..1]: bitmap of LVCMDQs in error */
};
enum berth_vmm_event_flags {
  BERTH_VMM_EVENT_LOST = 1, /* events before this one were lost; data may be empty */
};

struct berth_vmm_event {
  struct berth_vmm_header header;
  uint32_t unit;
  uint32_t source;   /* enum berth_vmm_event_source */
  uint32_t flags;    /* enum berth_vmm_event_flags */
  uint32_t sequence; /* of the kernel's queue: a gap of n means n-1 lost */
  uint64_t data[4];
};

#ifdef __cplusplus
}
#define BERTH_VMM_SIZE(type, bytes) static_assert(sizeof(struct type) == (bytes), #type)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define BERTH_VMM_SIZE(type, bytes) _Static_assert(sizeof(struct type) == (bytes), #type)
#else
#define BERTH_VMM_SIZE(type, bytes) extern int berth_vmm_sizes_checked_by_c11
#endif

BERTH_VMM_SIZE(berth_vmm_header, 24);
BERTH_VMM_SIZE(berth_vmm_reply, 272);
BERTH_VMM_SIZE(berth_vmm_hello, 232);
BERTH_VMM_SIZE(berth_vmm_hello_reply, 320);
BERTH_VMM_SIZE(berth_vmm_get_unit, 32);
BERTH_VMM_SIZE(berth_vmm_unit_reply, 512);
BERTH_VMM_SIZE(berth_vmm_get_device, 32);
BERTH_VMM_SIZE(berth_vmm_device_reply, 416);
BERTH_VMM_SIZE(berth_vmm_get_page0, 32);
BERTH_VMM_SIZE(berth_vmm_page0_reply, 296);
BERTH_VMM_SIZE(berth_vmm_get_iova_ranges, 24);
BERTH_VMM_SIZE(berth_vmm_iova_ranges_reply, 1304);
BERTH_VMM_SIZE(berth_vmm_map_memory, 56);
BERTH_VMM_SIZE(berth_vmm_unmap_memory, 40);
BERTH_VMM_SIZE(berth_vmm_set_stream, 56);
BERTH_VMM_SIZE(berth_vmm_alloc_queue, 48);
BERTH_VMM_SIZE(berth_vmm_free_queue, 32);
BERTH_VMM_SIZE(berth_vmm_invalidate, 32);
BERTH_VMM_SIZE(berth_vmm_invalidate_reply, 280);
BERTH_VMM_SIZE(berth_vmm_reset_guest, 24);
BERTH_VMM_SIZE(berth_vmm_detach, 24);
BERTH_VMM_SIZE(berth_vmm_hand_off, 24);
BERTH_VMM_SIZE(berth_vmm_hand_off_device, 208);
BERTH_VMM_SIZE(berth_vmm_hand_off_reply, 26904);
BERTH_VMM_SIZE(berth_vmm_confirm_hand_off, 24);
BERTH_VMM_SIZE(berth_vmm_empty_reply, 272);
BERTH_VMM_SIZE(berth_vmm_event, 72);

#endif /* BERTH_LIB_VMM_BERTH_VMM_WIRE_H_ */
