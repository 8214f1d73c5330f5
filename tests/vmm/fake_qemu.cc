// SPDX-License-Identifier: Apache-2.0
#include "tests/vmm/fake_qemu.h"

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <utility>

#include "lib/base/packet.h"

namespace berth {
namespace {

constexpr char kGreeting[] =
    R"({"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 9}, "package": ""}, )"
    R"("capabilities": ["oob"]}})"
    "\r\n";
constexpr char kEvent[] =
    R"({"timestamp": {"seconds": 1732363200, "microseconds": 17}, "event": "RESUME"})"
    "\r\n";

void Say(int socket, const std::string& text) {
  EXPECT_EQ(::send(socket, text.data(), text.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(text.size()));
}

}  // namespace

FakeQemu::FakeQemu(const std::string& path, const std::string& fails)
    : fails_(fails), listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)),
            0);
  EXPECT_EQ(::listen(listener_.get(), 1), 0);
  thread_ = std::thread([this] { Serve(); });
}

void FakeQemu::Join() {
  if (thread_.joinable()) thread_.join();
}

void FakeQemu::Serve() {
  const UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  Say(socket.get(), kGreeting);
  std::string received;
  std::vector<UniqueFd> fds;
  for (;;) {
    std::array<std::byte, 4096> buffer;
    ReceivedPacket packet;
    if (ReceivePacket(socket.get(), buffer, 0, &packet) != 0 || packet.size == 0) return;
    received.append(reinterpret_cast<const char*>(buffer.data()), packet.size);
    for (UniqueFd& fd : packet.fds) fds.push_back(std::move(fd));
    for (size_t end = 0; (end = received.find('\n')) != std::string::npos;) {
      Say(socket.get(), kEvent);
      Say(socket.get(), Answer(received.substr(0, end), std::exchange(fds, {})) + "\r\n");
      received.erase(0, end + 1);
    }
  }
}

std::string FakeQemu::Answer(const std::string& line, std::vector<UniqueFd> fds) {
  google::protobuf::Struct request;
  EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(line, &request).ok()) << line;
  const std::string command = request.fields().at("execute").string_value();
  const std::string id = request.fields().at("id").string_value();
  const auto refuse = [&](const std::string& why) {
    return R"({"id": ")" + id + R"(", "error": {"class": "GenericError", "desc": ")" + why + "\"}}";
  };
  google::protobuf::Struct arguments;
  if (request.fields().contains("arguments")) {
    arguments = request.fields().at("arguments").struct_value();
    std::string text;
    EXPECT_TRUE(google::protobuf::util::MessageToJsonString(arguments, &text).ok());
    commands_.push_back(command + " " + text);
  }
  if (command == fails_) return refuse("no " + command + " today");
  if (command == "getfd") {
    if (fds.size() != 1) return refuse("No file descriptor supplied via SCM_RIGHTS");
    fds_[arguments.fields().at("fdname").string_value()] = std::move(fds[0]);
  } else if (arguments.fields().contains("fd")) {
    const std::string name = arguments.fields().at("fd").string_value();
    if (!fds_.contains(name)) return refuse("File descriptor named '" + name + "' not found");
  }
  return R"({"return": {}, "id": ")" + id + "\"}";
}

}  // namespace berth
