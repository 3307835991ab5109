// Ends of streams with valid and ready. Each cycle a stream's end is asked twice: `drive` before the
// design settles, `sample` after.
#ifndef NVNMD_STREAM_H
#define NVNMD_STREAM_H

#include <cstddef>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "clock.h"

namespace nvnmd {

// True with a given probability; the same sequence for the same seed on every machine.
class Chance {
public:
    explicit Chance(std::uint64_t seed) : random_(seed) {}

    bool operator()(double probability) {
        return probability > 0.0 && static_cast<double>(random_() >> 11) * 0x1p-53 < probability;
    }

private:
    std::mt19937_64 random_;
};

// Sends beats to a design; at random it pauses before a beat.
template <class Data> class Source {
public:
    Source(Data& data, CData& valid, CData& last, CData& ready)
        : data_(data), valid_(valid), last_(last), ready_(ready) {
        stop();
    }

    // `words`: the beats' words one after another; `marks`: last of each beat. They are not copied.
    void start(const std::uint32_t* words, const std::uint8_t* marks, std::size_t beats,
               double pause) {
        words_ = words;
        marks_ = marks;
        beats_ = beats;
        at_ = 0;
        pause_ = pause;
        shown_ = false;
    }

    void stop() { start(nullptr, nullptr, 0, 0.0); }

    bool done() const { return at_ == beats_; }

    void drive(Chance& chance) {
        if (shown_) return;
        shown_ = !done() && !chance(pause_);
        valid_ = shown_;
        if (shown_) {
            set_port(data_, words_ + port_words<Data>() * at_);
            last_ = marks_[at_];
        } else {
            last_ = 0;
        }
    }

    void sample() {
        if (shown_ && ready_) {
            shown_ = false;
            ++at_;
        }
    }

private:
    Data& data_;
    CData& valid_;
    CData& last_;
    CData& ready_;
    const std::uint32_t* words_ = nullptr;
    const std::uint8_t* marks_ = nullptr;
    std::size_t beats_ = 0, at_ = 0;
    double pause_ = 0.0;
    bool shown_ = false;
};

// Takes beats from a design and keeps them, each with its side word and cycle; at random it is not
// ready.
template <class Data> class Sink {
public:
    Sink(const Data& data, const CData& side, const CData& valid, CData& ready)
        : data_(data), side_(side), valid_(valid), ready_(ready) {
        ready_ = 0;
    }

    void drive(Chance& chance, double stall) { ready_ = !chance(stall); }

    void sample(std::uint64_t cycle) {
        if (!ready_ || !valid_) return;
        append_port(words, data_);
        sides.push_back(side_);
        cycles.push_back(cycle);
    }

    void clear() {
        words.clear();
        sides.clear();
        cycles.clear();
    }

    std::size_t size() const { return cycles.size(); }

    std::vector<std::uint32_t> words;
    std::vector<std::uint8_t> sides;
    std::vector<std::uint64_t> cycles;

private:
    const Data& data_;
    const CData& side_;
    const CData& valid_;
    CData& ready_;
};

}  // namespace nvnmd
#endif
