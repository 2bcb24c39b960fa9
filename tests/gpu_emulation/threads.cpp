// Each thread of a block has a stack of its own and runs until it waits; then the next one takes over. (swapcontext
// asks the kernel for the signal mask each time, which takes longer than all that lies between: it is only used to
// enter a new stack.)
#include "tests/gpu_emulation/threads.h"

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/gpu_emulation/cuda_runtime.h"

namespace emulation {

namespace {

constexpr size_t kStackBytes = size_t{256} << 10;

struct Copy {
  void* to;
  const void* from;
  size_t bytes;
};

struct Thread {
  unsigned number;
  std::unique_ptr<char[]> stack;
  bool has_begun;                         // a life on this stack
  jmp_buf place;                          // where it goes on
  std::vector<std::vector<Copy>> copies;  // groups, the last one not committed yet
};

/// Where threads wait for each other. What they show is kept for two rounds: before a thread arrives for the next but
/// one, all others have arrived for the next, and read what they wanted.
struct Meeting {
  int members = 0, arrived = 0;
  size_t slot = 0;
  const char* what = nullptr;
  std::vector<Thread*> waiting;
  std::array<bool, 2> any{};
  std::array<std::array<std::byte, kWarp * kMostBytes>, 2> shown;
};

/// The block that a thread of the CPU works on.
struct Block {
  std::array<Thread, kMostThreads> threads;
  std::array<Meeting, kMostThreads / kWarp> warps;
  Meeting all;
  std::deque<Thread*> ready;  // in the order in which they go on
  Thread* running = nullptr;
  jmp_buf scheduler;
  const std::function<void()>* body = nullptr;
  std::exception_ptr failure;
};

Block& block() {
  thread_local const auto mine = std::make_unique<Block>();
  return *mine;
}

void switch_to(jmp_buf& from, jmp_buf& to) {
  if (_setjmp(from) == 0) _longjmp(to, 1);
}

// After a change of stacks the processor has to guess each return anew: few functions should lie between.

/// Leaves a thread that cannot go on: for the next that can, or where that has not begun yet or there is none, for the
/// scheduler.
[[gnu::always_inline]] inline void leave(Block& b, Thread& self) {
  if (b.failure || b.ready.empty() || !b.ready.front()->has_begun) return switch_to(self.place, b.scheduler);
  b.running = b.ready.front();
  b.ready.pop_front();
  threadIdx.x = b.running->number;
  switch_to(self.place, b.running->place);
}

/// Those who waited go on before all others: a warp runs as far as it can, while its stacks are in the nearest caches.
void close_round(Block& b, Meeting& meeting) {
  meeting.arrived = 0;
  meeting.slot = 1 - meeting.slot;
  b.ready.insert(b.ready.begin(), meeting.waiting.begin(), meeting.waiting.end());
  meeting.waiting.clear();
}

/// Returns the slot of the round in which all have arrived.
[[gnu::always_inline]] inline size_t meet(Block& b, Meeting& meeting, const char* what, bool mine, const void* shown,
                                          size_t bytes, size_t place) {
  if (meeting.arrived == 0) {
    meeting.what = what;
    meeting.any[meeting.slot] = false;
  } else if (meeting.what != what && std::strcmp(meeting.what, what) != 0) {
    throw std::runtime_error(std::string("threads that should act together are at ") + meeting.what + " and " + what);
  }
  const size_t slot = meeting.slot;
  meeting.any[slot] = meeting.any[slot] || mine;
  if (bytes > 0) std::memcpy(meeting.shown[slot].data() + place * kMostBytes, shown, bytes);
  if (++meeting.arrived == meeting.members) {
    close_round(b, meeting);
  } else {
    meeting.waiting.push_back(b.running);
    leave(b, *b.running);
  }
  return slot;
}

/// What a thread does in one block.
void work(Block& b, Thread& self) {
  try {
    (*b.body)();
    for (const auto& group : self.copies)
      if (!group.empty()) throw std::runtime_error("a thread ends before copies that it has started");
  } catch (...) {
    b.failure = std::current_exception();
  }
  // Those who wait for the whole block no longer wait for this one.
  if (--b.all.members == b.all.arrived && b.all.arrived > 0) close_round(b, b.all);
}

/// A stack's life: block after block. (It is given no pointer: what to do stands in the block.)
void live() {
  for (;;) {
    Block& b = block();
    Thread& self = *b.running;
    work(b, self);
    leave(b, self);
  }
}

void begin_life(Thread& thread) {
  if (!thread.stack) thread.stack = std::make_unique_for_overwrite<char[]>(kStackBytes);
  thread.has_begun = true;
  ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = thread.stack.get();
  // Tops of stacks at the same distance from each other would all meet in the same few places of the nearest cache.
  context.uc_stack.ss_size = kStackBytes - thread.number % 64 * 704;
  context.uc_link = nullptr;
  makecontext(&context, live, 0);
  setcontext(&context);
}

/// Lets a thread, and those that it leaves for, go on.
void run(Block& b, Thread& thread) {
  b.running = &thread;
  threadIdx.x = thread.number;
  if (thread.has_begun) return switch_to(b.scheduler, thread.place);
  if (_setjmp(b.scheduler) == 0) begin_life(thread);
}

/// All threads until none can go on.
void run_all(Block& b) {
  while (!b.ready.empty()) {
    Thread& next = *b.ready.front();
    b.ready.pop_front();
    run(b, next);
    if (b.failure) std::rethrow_exception(b.failure);
  }
  const auto check = [](const Meeting& meeting) {
    if (meeting.arrived > 0) throw std::runtime_error(std::string("threads wait forever at ") + meeting.what);
  };
  check(b.all);
  for (const Meeting& warp : b.warps) check(warp);
}

/// The numbers below n in some order.
std::vector<int> shuffled(int n, std::minstd_rand& rng) {
  std::vector<int> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), rng);
  return order;
}

/// An empty room for so many.
void open(Meeting& meeting, int members) {
  meeting.members = members;
  meeting.arrived = 0;
  meeting.waiting.clear();
}

}  // namespace

void run_block(unsigned number, int threads, const std::function<void()>& body) {
  Block& b = block();
  b.body = &body;
  b.failure = nullptr;
  open(b.all, threads);
  for (Meeting& warp : b.warps) open(warp, kWarp);
  b.ready.clear();
  std::minstd_rand rng(number + 1);
  const std::vector<int> warps = shuffled(threads / kWarp, rng), lanes = shuffled(kWarp, rng);
  for (const int warp : warps)
    for (const int lane : lanes) {
      const int t = warp * kWarp + lane;
      Thread& thread = b.threads[static_cast<size_t>(t)];
      thread.number = static_cast<unsigned>(t);
      thread.copies.assign(1, {});
      b.ready.push_back(&thread);
    }
  blockIdx.x = number;
  try {
    run_all(b);
  } catch (...) {
    for (Thread& thread : b.threads) thread.has_begun = false;  // what is on their stacks will not go on
    throw;
  }
}

bool meet_block(const char* what, bool mine) {
  Block& b = block();
  return b.all.any[meet(b, b.all, what, mine, nullptr, 0, 0)];
}

const std::byte* meet_warp(const char* what, const void* mine, size_t bytes) {
  Block& b = block();
  Meeting& warp = b.warps[threadIdx.x / kWarp];
  return warp.shown[meet(b, warp, what, false, mine, bytes, threadIdx.x % kWarp)].data();
}

void start_copy(void* to, const void* from, size_t bytes) {
  if (reinterpret_cast<uintptr_t>(to) % bytes != 0 || reinterpret_cast<uintptr_t>(from) % bytes != 0)
    throw std::runtime_error("a copy into shared memory is not aligned to its size");
  std::memset(to, 0xff, bytes);  // whoever does not wait reads NaN
  block().running->copies.back().push_back({to, from, bytes});
}

void commit_copies() {
  block().running->copies.emplace_back();
}

void wait_for_copies(size_t groups_that_may_go_on) {
  auto& copies = block().running->copies;
  while (copies.size() > groups_that_may_go_on + 1) {
    for (const Copy& copy : copies.front()) std::memcpy(copy.to, copy.from, copy.bytes);
    copies.erase(copies.begin());
  }
}

}  // namespace emulation
