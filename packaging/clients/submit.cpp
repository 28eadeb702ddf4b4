// Submit a film to the unit and wait for its result: submit SOCKET FILM. C++17 and POSIX alone.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <fstream>
#include <iostream>
#include <iterator>
using std::string;
// Send one request; return what is answered. HTTP/1.0: the unit closes when it has told all.
static string ask(const string& path, const string& what, const string& body = "") {
    sockaddr_un unit{};
    unit.sun_family = AF_UNIX;
    path.copy(unit.sun_path, sizeof unit.sun_path - 1);
    const int line = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(line, reinterpret_cast<sockaddr*>(&unit), sizeof unit)) perror(path.c_str());
    string text = what + " HTTP/1.0\r\nHost: unit\r\nContent-Type: application/dicom\r\n"
        "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body, answer;
    for (ssize_t n; !text.empty() && (n = send(line, text.data(), text.size(), MSG_NOSIGNAL)) > 0;)
        text.erase(0, n);
    char buffer[65536];
    for (ssize_t n; (n = read(line, buffer, sizeof buffer)) > 0;) answer.append(buffer, n);
    close(line);
    if (answer.compare(0, 10, "HTTP/1.1 2")) { std::cerr << answer << "\n"; exit(1); }
    return answer;
}
static string value(const string& json, const string& key) {  // the first of that name, if a text
    size_t from = json.find("\"" + key + "\":");
    if (from == string::npos || json[from += key.size() + 3] != '"') return "";
    return json.substr(from + 1, json.find('"', from + 1) - from - 1);
}
int main(int, char** argv) {
    std::ifstream file(argv[2], std::ios::binary);
    const string film{std::istreambuf_iterator<char>(file), {}};
    const string study = value(ask(argv[1], "POST /v1/films", film), "study_instance_uid");
    string told;
    while (value(told = ask(argv[1], "GET /v1/studies/" + study), "state") != "done") sleep(1);
    for (const string key : {"decision", "decision_text", "action_text"})
        std::cout << value(told, key) << "\n";
}
