// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/peek_gate.h"

#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <thread>
#include <vector>

namespace berth::emulator {
namespace {

TEST(PeekGateTest, IsOpenButForWhatIsClosed) {
  PeekGate gate;
  std::optional<PeekGate::Closed> closed(std::in_place, &gate, 5);
  {
    const PeekGate::Round round(&gate, 0);
    EXPECT_TRUE(round.MayPeek(4));
    EXPECT_FALSE(round.MayPeek(5));
    EXPECT_TRUE(round.MayPeek(63));
  }
  const PeekGate::Closed another(&gate, 63);
  closed.reset();
  const PeekGate::Round round(&gate, 63);
  EXPECT_TRUE(round.MayPeek(5));
  EXPECT_FALSE(round.MayPeek(63));
}

TEST(PeekGateTest, ClosingWaitsForThoseWhoPeek) {
  PeekGate gate;
  std::atomic<bool> ended = false;
  std::optional<PeekGate::Round> round(std::in_place, &gate, 7);
  ASSERT_TRUE(round->MayPeek(1));
  std::thread closer([&] {
    const PeekGate::Closed closed(&gate, 1);
    EXPECT_TRUE(ended) << "somebody still peeked";
  });
  // From here on it is known to wait.
  while (round->MayPeek(1)) std::this_thread::yield();
  ended = true;
  round.reset();
  closer.join();
}

// What is replaced here is a plain variable: ThreadSanitizer says whether the gate keeps order.
TEST(PeekGateTest, WhatIsReplacedIsNotSeenMeanwhile) {
  PeekGate gate;
  int registers = 0;
  std::atomic<bool> stop = false;
  std::atomic<int> rounds = 0;
  std::vector<std::thread> readers;
  for (int reader = 0; reader < 3; ++reader) {
    readers.emplace_back([&, reader] {
      while (!stop) {
        const PeekGate::Round round(&gate, reader);
        if (round.MayPeek(2)) {
          EXPECT_EQ(registers % 2, 0);
        }
        ++rounds;
      }
    });
  }
  while (rounds < 10) std::this_thread::yield();
  for (int i = 0; i < 1000; ++i) {
    const PeekGate::Closed closed(&gate, 2);
    ++registers;
    ++registers;
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(registers, 2000);
}

}  // namespace
}  // namespace berth::emulator
