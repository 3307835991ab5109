// Carries out a script of loads, atoms and resets on the accelerator and writes down what it
// answers. It judges nothing; `nvnmd.sim.compare` does.
//
//     player SCRIPT RESULTS [WAVES]
//
// SCRIPT is a text of lines, words between blanks, file names relative to its folder (no blanks):
//
//     seed N, pause P, stall P    how the streams are disturbed, see stream.h
//     tell FILE SECONDS           write the number of energies so far there, not more often than that
//     load FILE BEATS             send so many beats of 16 bytes as a load packet
//     start FILE MARKS BEATS      send neighbour beats from now on; MARKS: a byte each, last or not
//     wait ATOMS NEIGHBORS N      until so many words came since the last collect, or none came for
//                                 N cycles
//     idle N                      let N cycles pass
//     reset                       reset, which also ends what is being sent
//     fault STAGE AT              falsify a beat of a tap (verification builds)
//     collect NAME                write all since the last collect to RESULTS/NAME.QUANTITY
#include <chrono>
#include <fstream>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "Vtop.h"
#include "clock.h"
#include "stream.h"
#include "taps.h"

using Top = Vtop;
using Words = std::vector<std::uint32_t>;
using Bytes = std::vector<std::uint8_t>;
using Time = std::chrono::steady_clock;
// the model's ports are references
template <class T> using Port = std::remove_reference_t<T>;

namespace {

template <class T> std::vector<T> read_all(const std::string& path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file) throw std::runtime_error(path + ": cannot be read");
    std::vector<T> all(static_cast<std::size_t>(file.tellg()) / sizeof(T));
    file.seekg(0);
    file.read(reinterpret_cast<char*>(all.data()),
              static_cast<std::streamsize>(all.size() * sizeof(T)));
    if (!file) throw std::runtime_error(path + ": cannot be read");
    return all;
}

template <class T> void write_all(const std::string& path, const std::vector<T>& all) {
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(all.data()),
               static_cast<std::streamsize>(all.size() * sizeof(T)));
    file.close();
    if (!file) throw std::runtime_error(path + ": cannot be written");
}

// Words that the taps of a verification build showed; without taps it is empty.
struct Taps {
#define NVNMD_TAP(name) Words name;
    NVNMD_TAPS
#undef NVNMD_TAP

    void sample(const Top& top) {
        unsigned bit = 0;
        (void)top, (void)bit;
#define NVNMD_TAP(name) \
    if (top.tap_valid >> bit++ & 1) nvnmd::append_port(name, top.tap_##name);
        NVNMD_TAPS
#undef NVNMD_TAP
    }

    void write(const std::string& stem) const {
        (void)stem;
#define NVNMD_TAP(name)                 \
    write_all(stem + ".tap_" #name, name); \
    write_all(stem + ".tapwords_" #name,   \
              std::vector<std::uint64_t>{nvnmd::port_words<Port<decltype(Top::tap_##name)>>()});
        NVNMD_TAPS
#undef NVNMD_TAP
    }

    void clear() {
#define NVNMD_TAP(name) name.clear();
        NVNMD_TAPS
#undef NVNMD_TAP
    }
};

class Player {
public:
    Player(VerilatedContext& context, Top& top, std::string jobs, std::string results)
        : top_(top), clock_(context, top), jobs_(std::move(jobs)), results_(std::move(results)),
          load_(top.s_axis_load_tdata, top.s_axis_load_tvalid, top.s_axis_load_tlast,
                top.s_axis_load_tready),
          neighbors_(top.s_axis_nbr_tdata, top.s_axis_nbr_tvalid, top.s_axis_nbr_tlast,
                     top.s_axis_nbr_tready),
          energy_(top.m_axis_energy_tdata, top.m_axis_energy_tuser, top.m_axis_energy_tvalid,
                  top.m_axis_energy_tready),
          deriv_(top.m_axis_deriv_tdata, top.m_axis_deriv_tlast, top.m_axis_deriv_tvalid,
                 top.m_axis_deriv_tready) {
        top.verify = 0;
    }

    nvnmd::Clock<Top>& clock() { return clock_; }

    void play(std::istream& script) {
        reset();
        std::string line, step;
        while (std::getline(script, line)) {
            std::istringstream words(line);
            words >> step;
            if (step == "seed") chance_ = nvnmd::Chance(take<std::uint64_t>(words));
            else if (step == "pause") pause_ = take<double>(words);
            else if (step == "stall") stall_ = take<double>(words);
            else if (step == "tell") tell(words);
            else if (step == "load") load(words);
            else if (step == "start") start(words);
            else if (step == "wait") wait(words);
            else if (step == "idle") idle(take<std::uint64_t>(words));
            else if (step == "reset") reset();
            else if (step == "fault") fault(words);
            else if (step == "collect") collect(take<std::string>(words));
            else throw std::runtime_error("script: unknown step " + step);
        }
    }

private:
    template <class T> static T take(std::istream& words) {
        T value;
        if (!(words >> value)) throw std::runtime_error("script: a step lacks an argument");
        return value;
    }

    void cycle() {
        load_.drive(chance_);
        neighbors_.drive(chance_);
        energy_.drive(chance_, stall_);
        deriv_.drive(chance_, stall_);
        clock_.settle();
        load_.sample();
        neighbors_.sample();
        energy_.sample(clock_.cycles());
        deriv_.sample(clock_.cycles());
        taps_.sample(top_);
        clock_.edge();
    }

    void idle(std::uint64_t cycles) {
        while (cycles--) cycle();
    }

    void reset() {
        load_.stop();
        neighbors_.stop();
        clock_.hold_reset(true);
        idle(3);
        clock_.hold_reset(false);
        idle(1);
    }

    void load(std::istream& words) {
        const auto image = read_all<std::uint32_t>(jobs_ + take<std::string>(words));
        const auto beats = take<std::size_t>(words);
        Bytes marks(beats, 0);
        if (beats) marks.back() = 1;
        load_.start(image.data(), marks.data(), beats, 0.0);
        // a load that is never accepted would be a fault of the gateware: as patient as for words
        std::uint64_t left = 1000 + 100 * beats;
        while (!load_.done()) {
            if (!left--) throw std::runtime_error("the load stream does not move");
            cycle();
        }
        load_.stop();
        idle(8);
        loaded_at_ = clock_.cycles();
    }

    void start(std::istream& words) {
        beats_ = read_all<std::uint32_t>(jobs_ + take<std::string>(words));
        marks_ = read_all<std::uint8_t>(jobs_ + take<std::string>(words));
        neighbors_.start(beats_.data(), marks_.data(), take<std::size_t>(words), pause_);
    }

    void wait(std::istream& words) {
        const auto atoms = take<std::size_t>(words);
        const auto neighbors = take<std::size_t>(words);
        const auto patience = take<std::uint64_t>(words);
        std::size_t seen = energy_.size() + deriv_.size();
        std::uint64_t since = clock_.cycles();
        finished_ = true;
        while (energy_.size() < atoms || deriv_.size() < neighbors) {
            cycle();
            if (clock_.cycles() % 256 == 0) tell();
            const std::size_t now = energy_.size() + deriv_.size();
            if (now != seen) {
                seen = now;
                since = clock_.cycles();
            } else if (clock_.cycles() - since > patience) {
                finished_ = false;
                return;
            }
        }
    }

    void tell(std::istream& words) {
        told_ = jobs_ + take<std::string>(words);
        rest_ = std::chrono::duration_cast<Time::duration>(
            std::chrono::duration<double>(take<double>(words)));
    }

    // For whoever waits.
    void tell() {
        const auto now = Time::now();
        if (told_.empty() || now < tell_at_) return;
        tell_at_ = now + rest_;
        std::ofstream(told_) << collected_ + energy_.size();
    }

    void fault(std::istream& words) {
        const auto stage = take<unsigned>(words);
        const auto at = take<std::uint32_t>(words);
#if NVNMD_TRACE
        top_.fault = static_cast<CData>(stage);
        top_.fault_at = at;
#else
        (void)stage, (void)at;
        throw std::runtime_error("script: fault needs a verification build");
#endif
    }

    void collect(const std::string& name) {
        const std::string stem = results_ + "/" + name;
        write_all(stem + ".energy", energy_.words);
        write_all(stem + ".energy_type", energy_.sides);
        write_all(stem + ".energy_cycle", energy_.cycles);
        write_all(stem + ".deriv", deriv_.words);
        write_all(stem + ".deriv_last", deriv_.sides);
        write_all(stem + ".deriv_cycle", deriv_.cycles);
        taps_.write(stem);
        const std::vector<std::uint64_t> state{top_.status, clock_.cycles(), loaded_at_, finished_};
        write_all(stem + ".state", state);
        tell();
        collected_ += energy_.size();
        energy_.clear();
        deriv_.clear();
        taps_.clear();
    }

    Top& top_;
    nvnmd::Clock<Top> clock_;
    std::string jobs_, results_, told_;
    Time::time_point tell_at_;
    Time::duration rest_{};
    std::size_t collected_ = 0;
    nvnmd::Source<Port<decltype(Top::s_axis_load_tdata)>> load_, neighbors_;
    nvnmd::Sink<Port<decltype(Top::m_axis_energy_tdata)>> energy_;
    nvnmd::Sink<Port<decltype(Top::m_axis_deriv_tdata)>> deriv_;
    Taps taps_;
    nvnmd::Chance chance_{0};
    double pause_ = 0.0, stall_ = 0.0;
    Words beats_;
    Bytes marks_;
    std::uint64_t loaded_at_ = 0;
    bool finished_ = true;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc < 3) {
        std::cerr << "expected: player SCRIPT RESULTS [WAVES]\n";
        return 2;
    }
    try {
        VerilatedContext context;
        context.traceEverOn(argc > 3);
        Top top{&context};
        const std::string path = argv[1];
        std::ifstream script(path);
        if (!script) throw std::runtime_error(path + ": cannot be read");
        Player player(context, top, path.substr(0, path.rfind('/') + 1), argv[2]);
        if (argc > 3 && !player.clock().record(argv[3]))
            throw std::runtime_error("built without waveforms");
        player.play(script);
        player.clock().finish();
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
    return 0;
}
