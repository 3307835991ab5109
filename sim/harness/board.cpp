// A simulated board: a design between two byte streams, reached over TCP on the loopback interface and
// over a pseudo-terminal.
//
//     board HOST PORT BAUD CLOCK
//
// Listens on HOST:PORT (0: any port). One line of JSON on standard output says where: {"tcp": PORT,
// "pty": NAME} (no name where the machine has no pseudo-terminals). With a BAUD above 0 a byte takes ten of its bits in each direction at CLOCK cycles a
// second, and bytes that come faster wait. Ends when standard input does. One client at a time: a second
// one is told who has the board, in a frame of the link, and turned away.
#include <arpa/inet.h>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fcntl.h>
#include <iostream>
#include <netinet/tcp.h>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "Vtop.h"
#include "clock.h"

namespace {

constexpr std::size_t ROOM = 1 << 16;  // bytes that wait on this side of either stream
constexpr int CYCLES = 1024;           // cycles between two looks at the outside
constexpr int QUIET = 64;              // more than from a request's last byte until it is at work

std::uint32_t crc32(const std::string& data) {
    std::uint32_t crc = ~0u;
    for (unsigned char byte : data) {
        crc ^= byte;
        for (int k = 0; k < 8; ++k) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0u);
    }
    return ~crc;
}

void put(std::string& out, std::uint32_t value, int bytes) {
    for (int k = 0; k < bytes; ++k) out.push_back(static_cast<char>(value >> 8 * k & 255));
}

// An error of the link: the board is held by somebody else, whose name is the payload's rest.
std::string refusal(std::string name) {
    while (name.size() % 4) name.push_back(' ');
    std::string body;
    put(body, 0xFF, 1);
    put(body, 0, 1);
    put(body, 0, 2);
    put(body, static_cast<std::uint32_t>(name.size() + 4), 2);
    put(body, 7, 4);
    body += name;
    put(body, crc32(body), 4);
    std::string wire = "\x7e";
    for (char byte : body) {
        if (byte == '\x7e' || byte == '\x7d') {
            wire.push_back('\x7d');
            byte = static_cast<char>(byte ^ 0x20);
        }
        wire.push_back(byte);
    }
    return wire + "\x7e";
}

std::string name_of(const sockaddr_in& address) {
    char text[INET_ADDRSTRLEN] = "?";
    inet_ntop(AF_INET, &address.sin_addr, text, sizeof text);
    return std::string(text) + ":" + std::to_string(ntohs(address.sin_port));
}

void no_wait(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

int listen_on(const char* host, int port) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1 ||
        bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) || listen(fd, 4)) {
        std::perror("the simulated board cannot listen");
        std::exit(1);
    }
    no_wait(fd);
    return fd;
}

int port_of(int fd) {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    return ntohs(address.sin_port);
}

// The master side of a pseudo-terminal whose slave is raw before its name is known; -1 where there is none.
int open_terminal(std::string& name) {
    const int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || grantpt(fd) || unlockpt(fd)) return -1;
    name = ptsname(fd);
    const int slave = open(name.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC);
    termios settings{};
    if (slave < 0 || tcgetattr(slave, &settings)) return -1;
    cfmakeraw(&settings);
    tcsetattr(slave, TCSANOW, &settings);
    // closed again: the master shows a hang-up while nobody has the slave open, and so who has the board
    close(slave);
    no_wait(fd);
    return fd;
}

class Outside {
public:
    Outside(const char* host, int port) : listener_(listen_on(host, port)) {
        terminal_ = open_terminal(terminal_name_);
        std::cout << "{\"tcp\": " << port_of(listener_) << ", \"pty\": \"" << terminal_name_
                  << "\"}" << std::endl;
    }

    // Moves bytes; waits for some, or for room, if nothing is at work. False at the end of standard input.
    bool look(std::deque<unsigned char>& in, std::deque<unsigned char>& out, bool idle) {
        pollfd fds[3] = {{0, POLLIN, 0}, {listener_, POLLIN, 0}, {client_, 0, 0}};
        if (in.size() < ROOM) fds[2].events |= POLLIN;
        if (!out.empty()) fds[2].events |= POLLOUT;
        // a terminal that nobody has open shows a hang-up at once: it is asked apart, without waiting
        const bool open = terminal_open();
        if (!open && held_ == TERMINAL) let_go(in, out);
        pollfd terminal = {terminal_, POLLIN, 0};
        if (open && held_ == TERMINAL && in.size() >= ROOM) terminal.events = 0;
        if (open && held_ == TERMINAL && !out.empty()) terminal.events |= POLLOUT;
        const bool words = open && poll(&terminal, 1, 0) > 0;
        if (words) serve_terminal(terminal.revents, in, out);
        const int wait = !idle || words ? 0 : terminal_ >= 0 ? 5 : 200;
        if (poll(fds, 3, wait) <= 0) return true;
        if (fds[0].revents) {
            char ignored[256];
            if (read(0, ignored, sizeof ignored) <= 0) return false;
        }
        if (client_ >= 0) {
            if (fds[2].revents & POLLOUT) push(client_, out);
            if (fds[2].revents & (POLLIN | POLLHUP | POLLERR) && !pull(client_, in)) {
                close(client_);
                client_ = -1;
                let_go(in, out);
            }
        }
        if (fds[1].revents & POLLIN) meet(in, out);
        return true;
    }

private:
    enum Holder { NOBODY, CLIENT, TERMINAL };

    bool terminal_open() const {
        if (terminal_ < 0) return false;
        pollfd asked = {terminal_, 0, 0};
        return poll(&asked, 1, 0) >= 0 && !(asked.revents & POLLHUP);
    }

    void let_go(std::deque<unsigned char>& in, std::deque<unsigned char>& out) {
        held_ = NOBODY;
        in.clear();
        out.clear();
    }

    void serve_terminal(short events, std::deque<unsigned char>& in,
                        std::deque<unsigned char>& out) {
        if (held_ == NOBODY && events & POLLIN) {
            held_ = TERMINAL;
            holder_ = "the terminal " + terminal_name_;
        }
        if (held_ == TERMINAL) {
            if (events & POLLOUT) push(terminal_, out);
            if (events & POLLIN) pull(terminal_, in);
        } else if (events & POLLIN) {
            unsigned char lost[4096];
            if (read(terminal_, lost, sizeof lost) > 0) {
                const std::string told = refusal(holder_);
                if (write(terminal_, told.data(), told.size()) < 0) return;
            }
        }
    }

    void meet(std::deque<unsigned char>& in, std::deque<unsigned char>& out) {
        sockaddr_in address{};
        socklen_t size = sizeof address;
        const int fd = accept4(listener_, reinterpret_cast<sockaddr*>(&address), &size,
                               SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) return;
        if (held_ == CLIENT) {
            // gone already, though not all that it sent was read?
            pollfd holder = {client_, POLLRDHUP, 0};
            if (poll(&holder, 1, 0) > 0) {
                close(client_);
                client_ = -1;
                let_go(in, out);
            }
        }
        if (held_ != NOBODY) {
            const std::string told = refusal(holder_);
            if (write(fd, told.data(), told.size()) < 0) std::perror("refusal");
            // what it has sent is read, so that closing does not take the words back
            shutdown(fd, SHUT_WR);
            turned_away_.push_back(fd);
            if (turned_away_.size() > 8) {
                close(turned_away_.front());
                turned_away_.pop_front();
            }
            return;
        }
        const int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        client_ = fd;
        let_go(in, out);
        held_ = CLIENT;
        holder_ = name_of(address);
    }

    static void push(int fd, std::deque<unsigned char>& out) {
        unsigned char part[16384];
        const std::size_t most = std::min(out.size(), sizeof part);
        std::copy(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(most), part);
        const ssize_t sent = write(fd, part, most);
        if (sent > 0) out.erase(out.begin(), out.begin() + sent);
    }

    static bool pull(int fd, std::deque<unsigned char>& in) {
        unsigned char part[16384];
        const ssize_t got = read(fd, part, sizeof part);
        if (got > 0) in.insert(in.end(), part, part + got);
        return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
    }

    int listener_, client_ = -1, terminal_ = -1;
    Holder held_ = NOBODY;
    std::string terminal_name_, holder_;
    std::deque<int> turned_away_;  // clients that were told who has the board
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 5) {
        std::cerr << "usage: board HOST PORT BAUD CLOCK\n";
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    const double baud = std::atof(argv[3]), hertz = std::atof(argv[4]);
    const std::uint64_t byte_cycles =
        baud > 0 ? static_cast<std::uint64_t>(10.0 * hertz / baud + 0.5) : 1;
    VerilatedContext context;
    Vtop top(&context);
    nvnmd::Clock<Vtop> clock(context, top);
    std::deque<unsigned char> in, out;
    top.rx_valid = 0;
    top.tx_ready = 0;
    for (int k = 0; k < 16; ++k) {
        clock.settle();
        clock.edge();
    }
    clock.hold_reset(false);
    Outside outside(argv[1], std::atoi(argv[2]));
    std::uint64_t next_in = 0, next_out = 0;
    int quiet = 0;  // cycles in which nothing was at work
    while (outside.look(in, out, quiet >= QUIET)) {
        for (int k = 0; k < CYCLES; ++k) {
            const std::uint64_t now = clock.cycles();
            top.rx_valid = !in.empty() && now >= next_in;
            top.rx_data = top.rx_valid ? in.front() : 0;
            top.tx_ready = out.size() < ROOM && now >= next_out;
            clock.settle();
            if (top.rx_valid && top.rx_ready) {
                in.pop_front();
                next_in = now + byte_cycles;
            }
            if (top.tx_valid && top.tx_ready) {
                out.push_back(top.tx_data);
                next_out = now + byte_cycles;
            }
            quiet = top.busy || top.tx_valid || !in.empty() ? 0 : quiet + 1;
            clock.edge();
            if (quiet >= QUIET) break;
        }
    }
    clock.finish();
    return 0;
}
