// SPDX-License-Identifier: Apache-2.0
#include "lib/vmm/handoff/qmp_client.h"

#include <google/protobuf/util/json_util.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "lib/base/packet.h"
#include "lib/base/status.h"

namespace berth::handoff {
namespace {

using google::protobuf::Struct;

absl::Status Unavailable(const std::string& what, int error) {
  return Error(Reason::kUnavailable, absl::StrCat(what, ": ", std::strerror(error)));
}

bool Has(const Struct& object, const std::string& key) { return object.fields().contains(key); }

std::string TextOf(const Struct& object, const std::string& key) {
  const auto it = object.fields().find(key);
  return it == object.fields().end() ? "" : it->second.string_value();
}

}  // namespace

absl::StatusOr<QmpClient> QmpClient::Connect(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return Error(Reason::kInvalidField, absl::StrCat("the path of a socket is shorter: ", path));
  }
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  QmpClient client(UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)));
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  if (!client.socket_.valid() || ::connect(client.fd(), generic, sizeof(address)) != 0) {
    return Unavailable(absl::StrCat("QMP socket ", path), errno);
  }
  BERTH_ASSIGN_OR_RETURN(const Struct greeting, client.Receive(absl::Now() + kPatience));
  if (!Has(greeting, "QMP")) {
    return Error(Reason::kBadMessage, absl::StrCat(path, " does not greet as a QMP monitor does"));
  }
  BERTH_RETURN_IF_ERROR(client.Execute("qmp_capabilities", Struct()));
  return client;
}

absl::Status QmpClient::Execute(const std::string& command, const Struct& arguments, int fd) {
  const std::string id = absl::StrCat("berth-", ++last_id_);
  Struct request;
  (*request.mutable_fields())["execute"].set_string_value(command);
  (*request.mutable_fields())["id"].set_string_value(id);
  if (!arguments.fields().empty()) {
    *(*request.mutable_fields())["arguments"].mutable_struct_value() = arguments;
  }
  std::string line;
  if (!google::protobuf::util::MessageToJsonString(request, &line).ok()) {
    return Error(Reason::kInternal, "a request that is no JSON");
  }
  BERTH_RETURN_IF_ERROR(Send(line + "\n", fd));
  const absl::Time deadline = absl::Now() + kPatience;
  for (;;) {
    BERTH_ASSIGN_OR_RETURN(const Struct answer, Receive(deadline));
    // Events have no id, and an answer to a line that could not be parsed has none either.
    const bool ours = TextOf(answer, "id") == id;
    if (ours && Has(answer, "return")) return absl::OkStatus();
    if (!Has(answer, "error") || (!ours && Has(answer, "id"))) continue;
    const Struct& error = answer.fields().at("error").struct_value();
    return Error(Reason::kStateConflict,
                 absl::StrCat("QEMU refuses ", command, ": ", TextOf(error, "desc"), " (",
                              TextOf(error, "class"), ")"));
  }
}

absl::Status QmpClient::Send(const std::string& line, int fd) const {
  std::span<const char> left(line);
  // The fd travels with the first byte, and QEMU keeps it for the command that it belongs to.
  while (!left.empty()) {
    iovec part = {const_cast<char*>(left.data()), left.size()};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control = {};
    if (fd >= 0 && left.size() == line.size()) {
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(header), &fd, sizeof(fd));
    }
    const ssize_t sent = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return Unavailable("QEMU has closed its monitor", errno);
    left = left.subspan(static_cast<size_t>(sent));
  }
  return absl::OkStatus();
}

absl::Status QmpClient::Fill(absl::Time deadline) {
  pollfd readable = {socket_.get(), POLLIN, 0};
  const int64_t left = std::clamp<int64_t>(absl::ToInt64Milliseconds(deadline - absl::Now()), 0,
                                           absl::ToInt64Milliseconds(kPatience));
  const int ready = ::poll(&readable, 1, static_cast<int>(left));
  if (ready == 0) return Error(Reason::kDeadlineExceeded, "QEMU does not answer");
  std::array<char, 4096> buffer;
  const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (got == 0) return Error(Reason::kUnavailable, "QEMU has closed its monitor");
  if (got < 0 && errno != EINTR && errno != EAGAIN) return Unavailable("QMP socket", errno);
  if (got > 0) received_.append(buffer.data(), static_cast<size_t>(got));
  return absl::OkStatus();
}

absl::StatusOr<Struct> QmpClient::Receive(absl::Time deadline) {
  size_t end = 0;
  while ((end = received_.find('\n')) == std::string::npos) {
    if (received_.size() > kMaxLine) return Error(Reason::kTooLarge, "QEMU's line has no end");
    BERTH_RETURN_IF_ERROR(Fill(deadline));
  }
  const std::string line = received_.substr(0, end);
  received_.erase(0, end + 1);
  Struct object;
  if (!google::protobuf::util::JsonStringToMessage(line, &object).ok()) {
    return Error(Reason::kBadMessage, "the peer of the QMP socket does not speak JSON");
  }
  return object;
}

}  // namespace berth::handoff
