// SPDX-License-Identifier: Apache-2.0
#include "lib/rpc/error.h"

#include <google/protobuf/util/time_util.h>
#include <grpcpp/support/status.h>

#include <algorithm>
#include <string>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "lib/base/absl_view.h"
#include "lib/base/status.h"
#include "lib/rpc/text.h"

namespace berth {
namespace {

// gRPC peers accept 8 KiB of headers by default; the message goes out twice, once with each
// byte beyond ASCII percent-encoded.
constexpr size_t kMaxMessageBytes = 1024;
constexpr size_t kMaxKeyBytes = 64;
constexpr size_t kMaxValueBytes = 512;
constexpr size_t kMaxMetadataBytes = 2048;

grpc::StatusCode ToGrpcCode(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return grpc::StatusCode::OK;
    case absl::StatusCode::kCancelled:
      return grpc::StatusCode::CANCELLED;
    case absl::StatusCode::kUnknown:
      return grpc::StatusCode::UNKNOWN;
    case absl::StatusCode::kInvalidArgument:
      return grpc::StatusCode::INVALID_ARGUMENT;
    case absl::StatusCode::kDeadlineExceeded:
      return grpc::StatusCode::DEADLINE_EXCEEDED;
    case absl::StatusCode::kNotFound:
      return grpc::StatusCode::NOT_FOUND;
    case absl::StatusCode::kAlreadyExists:
      return grpc::StatusCode::ALREADY_EXISTS;
    case absl::StatusCode::kPermissionDenied:
      return grpc::StatusCode::PERMISSION_DENIED;
    case absl::StatusCode::kResourceExhausted:
      return grpc::StatusCode::RESOURCE_EXHAUSTED;
    case absl::StatusCode::kFailedPrecondition:
      return grpc::StatusCode::FAILED_PRECONDITION;
    case absl::StatusCode::kAborted:
      return grpc::StatusCode::ABORTED;
    case absl::StatusCode::kOutOfRange:
      return grpc::StatusCode::OUT_OF_RANGE;
    case absl::StatusCode::kUnimplemented:
      return grpc::StatusCode::UNIMPLEMENTED;
    case absl::StatusCode::kInternal:
      return grpc::StatusCode::INTERNAL;
    case absl::StatusCode::kUnavailable:
      return grpc::StatusCode::UNAVAILABLE;
    case absl::StatusCode::kDataLoss:
      return grpc::StatusCode::DATA_LOSS;
    case absl::StatusCode::kUnauthenticated:
      return grpc::StatusCode::UNAUTHENTICATED;
    case absl::StatusCode::kDoNotUseReservedForFutureExpansionUseDefaultInSwitchInstead_:
      break;
  }
  return grpc::StatusCode::UNKNOWN;
}

absl::StatusCode FromGrpcCode(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::OK:
      return absl::StatusCode::kOk;
    case grpc::StatusCode::CANCELLED:
      return absl::StatusCode::kCancelled;
    case grpc::StatusCode::UNKNOWN:
      return absl::StatusCode::kUnknown;
    case grpc::StatusCode::INVALID_ARGUMENT:
      return absl::StatusCode::kInvalidArgument;
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return absl::StatusCode::kDeadlineExceeded;
    case grpc::StatusCode::NOT_FOUND:
      return absl::StatusCode::kNotFound;
    case grpc::StatusCode::ALREADY_EXISTS:
      return absl::StatusCode::kAlreadyExists;
    case grpc::StatusCode::PERMISSION_DENIED:
      return absl::StatusCode::kPermissionDenied;
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return absl::StatusCode::kResourceExhausted;
    case grpc::StatusCode::FAILED_PRECONDITION:
      return absl::StatusCode::kFailedPrecondition;
    case grpc::StatusCode::ABORTED:
      return absl::StatusCode::kAborted;
    case grpc::StatusCode::OUT_OF_RANGE:
      return absl::StatusCode::kOutOfRange;
    case grpc::StatusCode::UNIMPLEMENTED:
      return absl::StatusCode::kUnimplemented;
    case grpc::StatusCode::INTERNAL:
      return absl::StatusCode::kInternal;
    case grpc::StatusCode::UNAVAILABLE:
      return absl::StatusCode::kUnavailable;
    case grpc::StatusCode::DATA_LOSS:
      return absl::StatusCode::kDataLoss;
    case grpc::StatusCode::UNAUTHENTICATED:
      return absl::StatusCode::kUnauthenticated;
    case grpc::StatusCode::DO_NOT_USE:
      break;
  }
  return absl::StatusCode::kUnknown;
}

google::rpc::ErrorInfo MakeErrorInfo(Reason reason, const ErrorMetadata& metadata) {
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(ReasonName(reason)));
  info.set_domain(kErrorDomain);
  size_t total = 0;
  bool truncated = false;
  for (const auto& [key, value] : metadata) {
    const std::string short_key = PrintableUtf8(key, kMaxKeyBytes);
    const std::string short_value = PrintableUtf8(value, kMaxValueBytes);
    truncated |= short_key.size() < key.size() || short_value.size() < value.size();
    total += short_key.size() + short_value.size();
    if (total > kMaxMetadataBytes) {
      truncated = true;
      break;
    }
    (*info.mutable_metadata())[short_key] = short_value;
  }
  if (truncated) (*info.mutable_metadata())["truncated"] = "true";
  return info;
}

absl::Duration RetryDelay(const absl::Status& status, Reason reason) {
  if (reason == Reason::kOverloaded) return absl::Milliseconds(200);
  if (status.code() == absl::StatusCode::kUnavailable) return absl::Seconds(1);
  return absl::ZeroDuration();
}

void AddDetails(const absl::Status& status, Reason reason, const std::string& message,
                google::rpc::Status& out) {
  const ErrorMetadata metadata = MetadataOf(status);
  out.add_details()->PackFrom(MakeErrorInfo(reason, metadata));
  if (const absl::Duration delay = RetryDelay(status, reason); delay > absl::ZeroDuration()) {
    google::rpc::RetryInfo retry;
    *retry.mutable_retry_delay() =
        google::protobuf::util::TimeUtil::MillisecondsToDuration(absl::ToInt64Milliseconds(delay));
    out.add_details()->PackFrom(retry);
  }
  const auto field = metadata.find("field");
  if (status.code() == absl::StatusCode::kInvalidArgument && field != metadata.end()) {
    google::rpc::BadRequest bad;
    google::rpc::BadRequest::FieldViolation& violation = *bad.add_field_violations();
    violation.set_field(PrintableUtf8(field->second, kMaxValueBytes));
    violation.set_description(message);
    out.add_details()->PackFrom(bad);
  }
}

// The first detail of type T.
template <typename T>
std::optional<T> Detail(const grpc::Status& status) {
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) return std::nullopt;
  for (const google::protobuf::Any& any : details.details()) {
    T detail;
    if (any.Is<T>() && any.UnpackTo(&detail)) return detail;
  }
  return std::nullopt;
}

}  // namespace

Reason ReasonOfCode(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return Reason::kUnspecified;
    case absl::StatusCode::kCancelled:
      return Reason::kCancelled;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return Reason::kInvalidField;
    case absl::StatusCode::kDeadlineExceeded:
      return Reason::kDeadlineExceeded;
    case absl::StatusCode::kNotFound:
      return Reason::kNotFound;
    case absl::StatusCode::kAlreadyExists:
      return Reason::kAlreadyExists;
    case absl::StatusCode::kPermissionDenied:
      return Reason::kPermissionDenied;
    case absl::StatusCode::kResourceExhausted:
      return Reason::kOverloaded;
    case absl::StatusCode::kFailedPrecondition:
      return Reason::kStateConflict;
    case absl::StatusCode::kAborted:
      return Reason::kEtagMismatch;
    case absl::StatusCode::kUnimplemented:
      return Reason::kUnsupported;
    case absl::StatusCode::kUnavailable:
      return Reason::kUnavailable;
    case absl::StatusCode::kUnauthenticated:
      return Reason::kUnauthenticated;
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kDoNotUseReservedForFutureExpansionUseDefaultInSwitchInstead_:
      break;
  }
  return Reason::kInternal;
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  Reason reason = ReasonOf(status);
  if (reason == Reason::kUnspecified) reason = ReasonOfCode(status.code());
  const std::string message = PrintableUtf8(StdView(status.message()), kMaxMessageBytes);
  const grpc::StatusCode code = ToGrpcCode(status.code());
  google::rpc::Status details;
  details.set_code(static_cast<int>(code));
  details.set_message(message);
  AddDetails(status, reason, message, details);
  return {code, message, details.SerializeAsString()};
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const std::optional<google::rpc::ErrorInfo> info = Detail<google::rpc::ErrorInfo>(status);
  const Reason by_code = ReasonOfCode(FromGrpcCode(status.error_code()));
  if (!info.has_value() || info->domain() != kErrorDomain) {
    return Error(by_code, status.error_message());
  }
  ErrorMetadata metadata(info->metadata().begin(), info->metadata().end());
  const std::optional<Reason> reason = ReasonFromName(info->reason());
  if (!reason.has_value()) metadata["reason"] = info->reason();
  return Error(reason.value_or(by_code), status.error_message(), metadata);
}

std::optional<absl::Duration> RetryDelayOf(const grpc::Status& status) {
  const std::optional<google::rpc::RetryInfo> retry = Detail<google::rpc::RetryInfo>(status);
  if (!retry.has_value()) return std::nullopt;
  return absl::Seconds(retry->retry_delay().seconds()) +
         absl::Nanoseconds(retry->retry_delay().nanos());
}

}  // namespace berth
