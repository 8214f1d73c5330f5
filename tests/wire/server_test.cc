// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/server.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cstring>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "lib/base/status.h"
#include "lib/wire/encode.h"
#include "tests/wire/client.h"

namespace berth::wire {
namespace {

// Answers every call as `answer` says, and notes what it is told.
class RecordingHandler : public Handler {
 public:
  using Answer = std::function<void(Call call, ReplyHandle reply)>;

  explicit RecordingHandler(Answer answer) : answer_(std::move(answer)) {}

  void OnConnect(ConnectionId connection, Peer peer) override {
    const absl::MutexLock lock(&mu_);
    connected_.push_back(connection);
    peers_.push_back(std::move(peer));
  }
  void OnCall(ConnectionId, Call call, ReplyHandle reply) override {
    answer_(std::move(call), std::move(reply));
  }
  void OnDisconnect(ConnectionId connection) override {
    const absl::MutexLock lock(&mu_);
    disconnected_.push_back(connection);
  }
  void OnPeerExit(WatchId watch) override {
    const absl::MutexLock lock(&mu_);
    exited_.push_back(watch);
  }

  void AwaitConnected(size_t count) { Await(&connected_, count); }
  void AwaitDisconnected(size_t count) { Await(&disconnected_, count); }
  void AwaitExited(size_t count) { Await(&exited_, count); }
  ConnectionId connection(size_t i) {
    const absl::MutexLock lock(&mu_);
    return connected_[i];
  }
  WatchId exited(size_t i) {
    const absl::MutexLock lock(&mu_);
    return exited_[i];
  }
  Peer TakePeer(size_t i) {
    const absl::MutexLock lock(&mu_);
    return std::move(peers_[i]);
  }

 private:
  template <typename T>
  void Await(const std::vector<T>* list, size_t count) {
    const absl::MutexLock lock(&mu_);
    const auto enough = [&] { return list->size() >= count; };
    mu_.Await(absl::Condition(&enough));
  }

  const Answer answer_;
  absl::Mutex mu_;
  std::vector<ConnectionId> connected_ ABSL_GUARDED_BY(mu_);
  std::vector<ConnectionId> disconnected_ ABSL_GUARDED_BY(mu_);
  std::vector<WatchId> exited_ ABSL_GUARDED_BY(mu_);
  std::vector<Peer> peers_ ABSL_GUARDED_BY(mu_);
};

std::shared_ptr<const Message> Done(const Call& call) {
  return std::make_shared<const Message>(EncodeReply(call.header, berth_vmm_empty_reply{}));
}

void AnswerAtOnce(Call call, ReplyHandle reply) { reply.Send(Done(call)); }

size_t OpenFds() {
  const auto folder = std::filesystem::directory_iterator("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(folder), end(folder)));
}

class WireServerTest : public ::testing::Test {
 protected:
  WireServerTest() {
    std::string name = ::testing::TempDir() + "berth-XXXXXX";
    folder_ = ::mkdtemp(name.data());
    path_ = folder_ + "/vmm.sock";
  }
  ~WireServerTest() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  void Start(RecordingHandler::Answer answer, ServerOptions options = {}) {
    handler_ = std::make_unique<RecordingHandler>(std::move(answer));
    auto listener = WireServer::Listen(path_, 0660);
    ASSERT_TRUE(listener.ok()) << listener.status();
    auto server = WireServer::Start(*std::move(listener), handler_.get(), options);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  std::string folder_;
  std::string path_;
  std::unique_ptr<RecordingHandler> handler_;
  std::unique_ptr<WireServer> server_;
};

TEST_F(WireServerTest, AnswersManyPeersEachInItsOwnOrder) {
  Start(AnswerAtOnce);
  std::deque<Client> clients;
  for (int i = 0; i < 100; ++i) clients.emplace_back(path_);
  for (uint64_t call = 1; call <= 5; ++call) {
    for (Client& client : clients) client.SendDetach(call);
    for (Client& client : clients) EXPECT_EQ(client.Receive().header.call_id, call);
  }
}

TEST_F(WireServerTest, TellsWhoThePeerIs) {
  Start(AnswerAtOnce);
  const Client client(path_);
  handler_->AwaitConnected(1);
  const Peer peer = handler_->TakePeer(0);
  EXPECT_EQ(peer.pid, ::getpid());
  EXPECT_EQ(peer.uid, ::getuid());
  EXPECT_EQ(peer.gid, ::getgid());
  EXPECT_TRUE(peer.pidfd.valid());
}

TEST_F(WireServerTest, GivesTheSocketItsMode) {
  Start(AnswerAtOnce);
  struct stat info = {};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0660u);
}

TEST_F(WireServerTest, ReplacesASocketThatNobodyServesAndNoOther) {
  { const auto abandoned = WireServer::Listen(path_, 0600); }
  const auto listener = WireServer::Listen(path_, 0600);
  ASSERT_TRUE(listener.ok()) << listener.status();
  EXPECT_EQ(ReasonOf(WireServer::Listen(path_, 0600).status()), Reason::kAlreadyExists);
  const UniqueFd file(::open((folder_ + "/file").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  EXPECT_EQ(ReasonOf(WireServer::Listen(folder_ + "/file", 0600).status()), Reason::kAlreadyExists);
  EXPECT_EQ(ReasonOf(WireServer::Listen(std::string(200, 'x'), 0600).status()),
            Reason::kInvalidField);
}

TEST_F(WireServerTest, ServesOnlyAListeningSeqpacketSocket) {
  RecordingHandler handler(AnswerAtOnce);
  EXPECT_EQ(
      ReasonOf(
          WireServer::Start(UniqueFd(::socket(AF_UNIX, SOCK_SEQPACKET, 0)), &handler, {}).status()),
      Reason::kInvalidField);
  EXPECT_EQ(ReasonOf(WireServer::Start(UniqueFd(), &handler, {}).status()), Reason::kInvalidField);
}

TEST_F(WireServerTest, AnswersMalformedMessagesAndTheConnectionLives) {
  Start(AnswerAtOnce);
  Client client(path_);
  client.SendBytes({});
  EXPECT_EQ(client.Receive().reason, BERTH_VMM_REASON_MESSAGE_TOO_SHORT);
  client.SendBytes(std::vector<std::byte>(3));
  EXPECT_EQ(client.Receive().reason, BERTH_VMM_REASON_MESSAGE_TOO_SHORT);
  client.SendBytes(std::vector<std::byte>(BERTH_VMM_MAX_MESSAGE + 100));
  EXPECT_EQ(client.Receive().reason, BERTH_VMM_REASON_MESSAGE_TOO_LONG);
  berth_vmm_detach unknown = {};
  unknown.header = {
      .size = sizeof(unknown), .type = 60, .fd_count = 0, .session_id = 7, .call_id = 5};
  client.SendBytes(Client::Bytes(unknown));
  const berth_vmm_reply reply = client.Receive();
  EXPECT_EQ(reply.reason, BERTH_VMM_REASON_UNKNOWN_MESSAGE);
  EXPECT_EQ(reply.header.type, 60);
  EXPECT_EQ(reply.header.call_id, 5u);
  client.SendDetach(6);
  EXPECT_EQ(client.Receive().reason, BERTH_VMM_REASON_NONE);
}

TEST_F(WireServerTest, HandsTheFdOverAndClosesAllThatDoNotBelong) {
  std::atomic<ino_t> seen = 0;
  Start([&](Call call, ReplyHandle reply) {
    struct stat info = {};
    ::fstat(call.fd.get(), &info);
    seen = info.st_ino;
    reply.Send(Done(call));
  });
  Client client(path_);
  client.SendDetach(1);
  client.Receive();
  const size_t before = OpenFds();
  {
    const UniqueFd memfd(::memfd_create("memory", MFD_CLOEXEC));
    struct stat info = {};
    ::fstat(memfd.get(), &info);
    client.SendMapMemory({memfd.get()});
    EXPECT_EQ(client.Receive().reason, BERTH_VMM_REASON_NONE);
    EXPECT_EQ(seen, info.st_ino);
    client.SendMapMemory({});
    EXPECT_EQ(client.Receive().reason, BERTH_VMM_REASON_TOO_FEW_FDS);
    for (const size_t count : {2u, 16u}) {
      client.SendMapMemory(std::vector<int>(count, memfd.get()));
      EXPECT_EQ(client.Receive().reason, BERTH_VMM_REASON_TOO_MANY_FDS);
    }
  }
  client.SendDetach(2);
  client.Receive();  // by now the packet before has been dropped
  EXPECT_EQ(OpenFds(), before);
}

TEST_F(WireServerTest, TellsTooManyFdsFromNoRoomForThem) {
  Start(AnswerAtOnce);
  Client client(path_);
  client.SendDetach(1);
  client.Receive();
  const size_t before = OpenFds();
  {
    const UniqueFd memfd(::memfd_create("memory", MFD_CLOEXEC));
    client.SendManyFds(memfd.get());
    EXPECT_EQ(client.Receive().reason, BERTH_VMM_REASON_TOO_MANY_FDS);
    client.SendDetach(2);
    client.Receive();  // by now the packet before has been dropped

    rlimit limit = {};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
    const rlim_t usual = limit.rlim_cur;
    limit.rlim_cur =
        static_cast<rlim_t>(UniqueFd(::dup(memfd.get())).get());  // the lowest free one
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
    client.SendMapMemory({memfd.get()});
    EXPECT_EQ(client.Receive().reason, BERTH_VMM_REASON_OUT_OF_MEMORY);
    limit.rlim_cur = usual;
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
    client.SendMapMemory({memfd.get()});
    EXPECT_EQ(client.Receive().reason, BERTH_VMM_REASON_NONE);
  }
  client.SendDetach(3);
  client.Receive();
  EXPECT_EQ(OpenFds(), before);
}

TEST_F(WireServerTest, LeavesNoFdBehindWhenPeersComeAndGo) {
  Start(AnswerAtOnce);
  const size_t before = OpenFds();
  for (size_t i = 1; i <= 20; ++i) {
    Client client(path_);
    client.SendDetach(1);
    if (i % 2 == 0) client.Receive();
    handler_->AwaitConnected(i);
    handler_->TakePeer(i - 1);
    client.Close();
    handler_->AwaitDisconnected(i);
  }
  EXPECT_EQ(OpenFds(), before);
}

TEST_F(WireServerTest, TakesTheNextCallOnlyAfterTheAnswer) {
  absl::Mutex mu;
  std::vector<std::pair<Call, ReplyHandle>> waiting;
  Start([&](Call call, ReplyHandle reply) {
    const absl::MutexLock lock(&mu);
    waiting.emplace_back(std::move(call), std::move(reply));
  });
  Client eager(path_);
  for (uint64_t call = 1; call <= 3; ++call) eager.SendDetach(call);
  for (uint64_t call = 1; call <= 3; ++call) {
    std::pair<Call, ReplyHandle> next;
    {
      const absl::MutexLock lock(&mu);
      const auto one_waits = [&] { return !waiting.empty(); };
      mu.Await(absl::Condition(&one_waits));
      ASSERT_EQ(waiting.size(), 1u);
      next = std::move(waiting.front());
      waiting.clear();
    }
    EXPECT_EQ(next.first.header.call_id, call);
    // From another thread, as the agent's executors do.
    std::thread([&] { next.second.Send(Done(next.first)); }).join();
    EXPECT_EQ(eager.Receive().header.call_id, call);
  }
}

TEST_F(WireServerTest, APeerThatNeverReadsHoldsUpNobodyElse) {
  Start(AnswerAtOnce);
  Client deaf(path_);
  const int flags = ::fcntl(deaf.fd(), F_GETFL);
  ASSERT_EQ(::fcntl(deaf.fd(), F_SETFL, flags | O_NONBLOCK), 0);
  // Until both directions are full; the server then reads no more from it.
  const berth_vmm_detach call = {.header = {.size = sizeof(call),
                                            .type = BERTH_VMM_DETACH,
                                            .fd_count = 0,
                                            .session_id = 7,
                                            .call_id = 1}};
  size_t sent = 0;
  pollfd poll_fd = {.fd = deaf.fd(), .events = POLLOUT, .revents = 0};
  while (::poll(&poll_fd, 1, 200) == 1) {
    if (::send(deaf.fd(), &call, sizeof(call), MSG_NOSIGNAL) == sizeof(call)) ++sent;
  }
  Client other(path_);
  other.SendDetach(1);
  EXPECT_EQ(other.Receive().header.call_id, 1u);
  // And once it reads, it gets every answer.
  ASSERT_EQ(::fcntl(deaf.fd(), F_SETFL, flags), 0);
  for (size_t i = 0; i < sent; ++i) deaf.Receive();
}

TEST_F(WireServerTest, AnswersForAHandlerThatDropsTheCall) {
  Start([](Call, ReplyHandle) {});
  Client client(path_);
  client.SendDetach(9);
  const berth_vmm_reply reply = client.Receive();
  EXPECT_EQ(reply.reason, BERTH_VMM_REASON_INTERNAL);
  EXPECT_EQ(reply.header.call_id, 9u);
}

TEST_F(WireServerTest, AReplyMayComeAfterTheConnectionAndTheServerAreGone) {
  absl::Mutex mu;
  std::vector<ReplyHandle> kept;
  Start([&](Call, ReplyHandle reply) {
    const absl::MutexLock lock(&mu);
    kept.push_back(std::move(reply));
  });
  for (const bool end_server : {false, true}) {
    Client client(path_);
    client.SendDetach(1);
    {
      const absl::MutexLock lock(&mu);
      const auto has_one = [&] { return !kept.empty(); };
      mu.Await(absl::Condition(&has_one));
    }
    client.Close();
    handler_->AwaitDisconnected(end_server ? 2 : 1);
    if (end_server) server_.reset();
    const absl::MutexLock lock(&mu);
    kept.front().SendError(Error(Reason::kInternal, "late"));
    kept.clear();
  }
}

TEST_F(WireServerTest, TurnsAwayWhatIsOverTheLimitAndSaysSo) {
  Start(AnswerAtOnce, {.max_connections = 2});
  Client first(path_);
  Client second(path_);
  handler_->AwaitConnected(2);
  Client third(path_);
  EXPECT_EQ(third.Receive().reason, BERTH_VMM_REASON_OVERLOADED);
  EXPECT_TRUE(third.AtEnd());
  first.Close();
  handler_->AwaitDisconnected(1);
  Client fourth(path_);
  fourth.SendDetach(1);
  EXPECT_EQ(fourth.Receive().reason, BERTH_VMM_REASON_NONE);
}

TEST_F(WireServerTest, LimitsEachUser) {
  Start(AnswerAtOnce, {.max_connections_per_uid = 1});
  const Client first(path_);
  Client second(path_);
  EXPECT_EQ(second.Receive().reason, BERTH_VMM_REASON_OVERLOADED);
}

TEST_F(WireServerTest, EndsAConnectionOnRequest) {
  Start(AnswerAtOnce);
  Client client(path_);
  handler_->AwaitConnected(1);
  server_->CloseConnection(ConnectionId{12345});
  server_->CloseConnection(handler_->connection(0));
  EXPECT_TRUE(client.AtEnd());
  handler_->AwaitDisconnected(1);
}

TEST_F(WireServerTest, EndsAllConnectionsWhenItEnds) {
  Start(AnswerAtOnce);
  Client client(path_);
  handler_->AwaitConnected(1);
  server_.reset();
  handler_->AwaitDisconnected(1);
  EXPECT_TRUE(client.AtEnd());
}

class Child {
 public:
  Child() : pid_(::fork()) {
    if (pid_ == 0) {
      for (;;) ::pause();
    }
  }
  ~Child() { Kill(); }
  UniqueFd OpenPidfd() const {
    return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  }
  void Kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  pid_t pid_;
};

TEST_F(WireServerTest, TellsOnceWhenAProcessHasEnded) {
  Start(AnswerAtOnce);
  Child watched;
  Child forgotten;
  const auto forgotten_watch = server_->WatchExit(forgotten.OpenPidfd());
  ASSERT_TRUE(forgotten_watch.ok()) << forgotten_watch.status();
  server_->StopWatching(*forgotten_watch);
  forgotten.Kill();
  const auto watch = server_->WatchExit(watched.OpenPidfd());
  ASSERT_TRUE(watch.ok()) << watch.status();
  watched.Kill();
  handler_->AwaitExited(1);
  EXPECT_EQ(handler_->exited(0), *watch);
}

TEST_F(WireServerTest, WatchesOnlyProcessesAndNotTooMany) {
  Start(AnswerAtOnce, {.max_watches = 1});
  EXPECT_EQ(ReasonOf(server_->WatchExit(UniqueFd(::memfd_create("x", MFD_CLOEXEC))).status()),
            Reason::kInvalidField);
  const Child child;
  EXPECT_TRUE(server_->WatchExit(child.OpenPidfd()).ok());
  EXPECT_EQ(ReasonOf(server_->WatchExit(child.OpenPidfd()).status()), Reason::kOverloaded);
}

}  // namespace
}  // namespace berth::wire
