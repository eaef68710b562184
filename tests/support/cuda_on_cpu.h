// CUDA for g++: the kernels of npresnext/engines run on the CPU from the very text that NVRTC compiles.
//
// Each thread of a block is a fiber. A fiber runs until its kernel ends or it reaches __syncthreads(), where the next
// one takes over; so a block that would deadlock or race on a GPU is seen here: fibers that wait for others that have
// ended are an error, and running the threads in the opposite order must not change a bit of the result.
#define CUDA_ON_CPU
#include <cmath>
#include <csetjmp>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ucontext.h>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __shared__
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

struct Index { unsigned x, y, z; };
static Index threadIdx, blockIdx, blockDim, gridDim;
const int SHARED = 48 * 1024;                             // what a block may have without asking for more
alignas(16) unsigned char shared[SHARED + 64];

template <typename T> static T min(T a, T b) { return b < a ? b : a; }
template <typename T> static T max(T a, T b) { return a < b ? b : a; }
static unsigned __umulhi(unsigned a, unsigned b) { return (uint64_t(a) * b) >> 32; }

struct Copy { void *to; const void *from; size_t bytes; };

typedef _Float16 __half;
static float __half2float(__half value) { return float(value); }
static __half __float2half_rn(float value) { return __half(value); }

struct __nv_bfloat16 { uint16_t bits; };
static float __bfloat162float(__nv_bfloat16 value) {
    const uint32_t bits = uint32_t(value.bits) << 16;
    float result;
    std::memcpy(&result, &bits, 4);
    return result;
}
static __nv_bfloat16 __float2bfloat16_rn(float value) {   // to the nearest, a tie to the even one; no NaN in the tests
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return {uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

// A fiber starts by setcontext, which asks the kernel of the operating system twice, and then takes turns by longjmp.
struct Fiber {
    ucontext_t context; std::vector<char> stack; bool started, ended; jmp_buf place; std::vector<Copy> under_way;
};
static std::vector<Fiber> fibers;
static Fiber *current;
static jmp_buf scheduler;
static void (*entry)(void **);
static void **arguments;

// A copy that is under way arrives when its own thread waits for it, not before.
template <typename S> static void copy_async(S *to, const S *from, bool reads) {
    current->under_way.push_back({to, reads ? from : nullptr, sizeof(S)});
}
static void copies_arrive() {
    for (const Copy &copy : current->under_way) {
        if (copy.from) std::memcpy(copy.to, copy.from, copy.bytes);
        else std::memset(copy.to, 0, copy.bytes);
    }
    current->under_way.clear();
}

static void __syncthreads() {
    if (!_setjmp(current->place)) _longjmp(scheduler, 1);
}
static void body() {
    entry(arguments);
    current->ended = true;
    _longjmp(scheduler, 1);
}
__attribute__((noinline)) static void resume(Fiber &fiber) {
    current = &fiber;
    if (_setjmp(scheduler)) return;
    if (fiber.started) _longjmp(fiber.place, 1);
    fiber.started = true;
    setcontext(&fiber.context);
}

// Calls a kernel with pointers to its arguments, as cuLaunchKernel does.
template <typename... P, size_t... I>
static void call(void (*kernel)(P...), void **args, std::index_sequence<I...>) {
    kernel(*(typename std::remove_const<P>::type *)args[I]...);
}
template <typename... P> static void call(void (*kernel)(P...), void **args) {
    call(kernel, args, std::index_sequence_for<P...>());
}

// The arrays end at a page that nobody may touch (cuda_on_cpu.py), and so does an access beyond them.
static sigjmp_buf outside;
static void leave(int) { siglongjmp(outside, 1); }

// Runs all blocks from the `first` on, one after the other. Returns 0, or what went wrong: 1 threads that wait for ended ones, 2 writes
// beyond the shared memory that was asked for, 3 more shared memory or threads than a block may have.
static int run_blocks(
    unsigned first, unsigned blocks, unsigned x, unsigned y, int bytes, int backwards, void **args) {
    const unsigned threads = x * y;
    if (bytes > SHARED || threads > 1024) return 3;
    if (fibers.size() < threads) fibers.resize(threads);
    gridDim = {blocks, 1, 1};
    blockDim = {x, y, 1};
    arguments = args;
    for (unsigned block = first; block < blocks; ++block) {
        blockIdx = {block, 0, 0};
        std::memset(shared, 0xff, sizeof shared);         // NaN: what is read before it is written shows
        for (unsigned t = 0; t < threads; ++t) {
            Fiber &fiber = fibers[t];
            fiber.stack.resize(64 * 1024);
            fiber.started = fiber.ended = false;
            fiber.under_way.clear();
            getcontext(&fiber.context);
            fiber.context.uc_stack.ss_sp = fiber.stack.data();
            fiber.context.uc_stack.ss_size = fiber.stack.size();
            fiber.context.uc_link = nullptr;
            makecontext(&fiber.context, body, 0);
        }
        for (unsigned ended = 0; ended < threads;) {
            ended = 0;
            for (unsigned i = 0; i < threads; ++i) {
                const unsigned t = backwards ? threads - 1 - i : i;
                threadIdx = {t % x, t / x, 0};
                if (!fibers[t].ended) resume(fibers[t]);
                ended += fibers[t].ended;
            }
            if (ended && ended < threads) return 1;
        }
        for (int i = bytes; i < bytes + 64; ++i)
            if (shared[i] != 0xff) return 2;
    }
    return 0;
}

// The same with accesses outside the arrays caught: 5.
static int run(unsigned first, unsigned blocks, unsigned x, unsigned y, int bytes, int backwards, void **args) {
    static std::vector<char> stack(64 * 1024);            // of the handler
    stack_t own = {stack.data(), 0, stack.size()}, former_stack;
    struct sigaction caught = {}, former;
    caught.sa_handler = leave;
    caught.sa_flags = SA_ONSTACK;
    sigaltstack(&own, &former_stack);
    sigaction(SIGSEGV, &caught, &former);
    const int status = sigsetjmp(outside, 1) ? 5 : run_blocks(first, blocks, x, y, bytes, backwards, args);
    sigaction(SIGSEGV, &former, nullptr);
    sigaltstack(&former_stack, nullptr);
    return status;
}
