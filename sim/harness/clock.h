// The clock of a simulated design, and words of its ports.
//
// A design is a Verilated model (class `Vtop`) with the ports `aclk` and `aresetn`. One cycle is: set inputs,
// `settle` (the clock is low: outputs follow inputs), read outputs, `edge` (the clock rises).
#ifndef NVNMD_CLOCK_H
#define NVNMD_CLOCK_H

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

namespace nvnmd {

// 32-bit words that a port takes
template <class Port> constexpr std::size_t port_words() {
    return sizeof(Port) < 4 ? 1 : sizeof(Port) / 4;
}

// Give a port its words, the low one first.
template <class Port> void set_port(Port& port, const std::uint32_t* words) {
    if constexpr (sizeof(Port) < 4) {
        port = static_cast<Port>(words[0]);
    } else {
        std::memcpy(&port, words, sizeof(Port));
    }
}

// Append the words of a port, the low one first.
template <class Port> void append_port(std::vector<std::uint32_t>& words, const Port& port) {
    if constexpr (sizeof(Port) < 4) {
        words.push_back(static_cast<std::uint32_t>(port));
    } else {
        const std::size_t at = words.size();
        words.resize(at + port_words<Port>());
        std::memcpy(&words[at], &port, sizeof(Port));
    }
}

template <class Top> class Clock {
public:
    Clock(VerilatedContext& context, Top& top) : context_(context), top_(top) {
        top_.aclk = 0;
        top_.aresetn = 0;
    }

    // Record waveforms from now on; needs a model that was built for it.
    bool record(const char* path) {
#if VM_TRACE
        top_.trace(&trace_, 99);
        trace_.open(path);
        return true;
#else
        (void)path;
        return false;
#endif
    }

    void settle() {
        top_.aclk = 0;
        advance();
    }

    void edge() {
        top_.aclk = 1;
        advance();
        ++cycles_;
    }

    void hold_reset(bool held) { top_.aresetn = held ? 0 : 1; }

    // Rising edges so far.
    std::uint64_t cycles() const { return cycles_; }

    void finish() {
        top_.final();
#if VM_TRACE
        trace_.close();
#endif
    }

private:
    void advance() {
        top_.eval();
#if VM_TRACE
        if (trace_.isOpen()) trace_.dump(context_.time());
#endif
        context_.timeInc(5000);  // half of 10 ns, in ps
    }

    VerilatedContext& context_;
    Top& top_;
    std::uint64_t cycles_ = 0;
#if VM_TRACE
    VerilatedVcdC trace_;
#endif
};

}  // namespace nvnmd
#endif
