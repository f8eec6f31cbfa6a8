// Package examples has no code: this builds and runs the programs below it, as their users would, against a real server.
package examples

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const long = time.Minute

var (
	programs string
	url      string
	control  = os.Getenv("ACKBUS_TEST_SERVER")
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if control == "" {
		control = filepath.Join("..", "..", "target", "debug", "ackbus-test-server")
	}
	if _, err := os.Stat(control); err != nil {
		fmt.Println("skipped: there is no server to test with:", err, "(make test-go builds it)")
		return 0
	}
	var err error
	if programs, err = os.MkdirTemp("", "ackbus-examples"); err != nil {
		panic(err)
	}
	defer os.RemoveAll(programs)
	if out, err := exec.Command("go", "build", "-o", programs, "./...").CombinedOutput(); err != nil {
		panic(string(out))
	}
	server := exec.Command(control)
	stdin, _ := server.StdinPipe()
	stdout, _ := server.StdoutPipe()
	if err := server.Start(); err != nil {
		panic(err)
	}
	defer server.Wait()
	defer stdin.Close()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		panic(err)
	}
	url = strings.TrimSpace(line)
	return m.Run()
}

// start starts an example. It is killed if it hangs.
func start(t *testing.T, program string, arguments ...string) (command *exec.Cmd, out io.Reader, errs *bytes.Buffer) {
	t.Helper()
	command = exec.Command(filepath.Join(programs, program), arguments...)
	errs = new(bytes.Buffer)
	command.Stderr = errs
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(long, func() { command.Process.Kill() })
	t.Cleanup(func() { timer.Stop() })
	return command, out, errs
}

// output runs an example to its end.
func output(t *testing.T, code int, program string, arguments ...string) (string, string) {
	t.Helper()
	command, out, errs := start(t, program, arguments...)
	text, _ := io.ReadAll(out)
	command.Wait()
	if got := command.ProcessState.ExitCode(); got != code {
		t.Fatalf("%s %v ends with %d, should be %d: %s%s", program, arguments, got, code, text, errs)
	}
	return string(text), errs.String()
}

// stored is what an independent client reads from a stream, a line for each message.
func stored(t *testing.T, stream string) string {
	t.Helper()
	out, err := exec.Command(control, "read", url, stream).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestQuickstart(t *testing.T) {
	if out, _ := output(t, 0, "quickstart", url); out != "<nil> <nil> 10 persisted\n" {
		t.Error(out)
	}
	if lines := strings.Split(strings.TrimSpace(stored(t, "ORDERS")), "\n"); len(lines) != 10 || lines[9] != "order 9" {
		t.Error(lines)
	}
	if _, errs := output(t, 1, "quickstart", "nats://127.0.0.1:1"); !strings.Contains(errs, "CONNECT_FAILED") {
		t.Error(errs)
	}
}

// The README shows what runs here.
func TestQuickstartIsTheReadmes(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(readme), "```go\n")
	shown, _, found := strings.Cut(after, "```")
	program, err := os.ReadFile("quickstart/main.go")
	if err != nil {
		t.Fatal(err)
	}
	body := ""
	for _, line := range strings.SplitAfter(shown, "\n") {
		if strings.TrimSpace(line) != "" {
			body += "\t" + line
		}
	}
	if !found || !strings.Contains(string(program), body) {
		t.Errorf("the README shows\n%s\nwhich is not in quickstart/main.go", body)
	}
	if count := strings.Count(body, "\n"); count > 15 {
		t.Errorf("the README's quickstart has %d lines", count)
	}
}

func TestFilepublisher(t *testing.T) {
	lines := ""
	for i := range 20_000 {
		lines += fmt.Sprintf("row %d; ä\n", i)
	}
	file := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ := output(t, 0, "filepublisher", url, "rows", "ROWS", file)
	if out != "20000 lines, 20000 persisted, 0 failed\n" {
		t.Error(out)
	}
	if stored(t, "ROWS") != lines {
		t.Error("the stream has other lines than the file")
	}
	// No stream may have this subject and another name.
	out, errs := output(t, 1, "filepublisher", url, "rows", "OTHER", file)
	if !strings.HasPrefix(out, "line 1: not persisted: ackbus: ") || !strings.Contains(errs, "20000 lines are not stored") {
		t.Errorf("%.300s %.300s", out, errs)
	}
	output(t, 2, "filepublisher")
	output(t, 1, "filepublisher", url, "rows", "ROWS", file+".none")
}

func TestHTTPService(t *testing.T) {
	command, out, errs := start(t, "httpservice", url, "127.0.0.1:0")
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(errs)
	}
	address := strings.TrimSpace(line)
	client := http.Client{Transport: &http.Transport{Proxy: nil}, Timeout: long}
	post := func(path, body string) (int, string) {
		t.Helper()
		answer, err := client.Post(address+path, "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, _ := io.ReadAll(answer.Body)
		return answer.StatusCode, string(text)
	}
	for i := range 5 {
		if code, text := post("/orders", fmt.Sprint("order ", i)); code != 200 || text != fmt.Sprintf("stored as %d in WEB\n", i+1) {
			t.Error(code, text)
		}
	}
	for range 5 {
		if code, text := post("/clicks", ""); code != http.StatusAccepted {
			t.Error(code, text)
		}
	}
	for path, want := range map[string]string{
		"/debug/vars": `"ackbus_accepted_messages_total":10,`,
		"/metrics":    "\nackbus_accepted_messages_total{publisher=\"ackbus\"} 10\n",
	} {
		answer, err := client.Get(address + path)
		if err != nil {
			t.Fatal(err)
		}
		figures, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if !strings.Contains(string(figures), want) {
			t.Errorf("%s: %s", path, figures)
		}
	}
	if err := command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(lines)
	if err := command.Wait(); err != nil || string(rest) != "10 accepted, 10 persisted, 0 failed\n" {
		t.Errorf("%v: %s%s", err, rest, errs)
	}
	if count := strings.Count(stored(t, "WEB"), "\n"); count != 10 {
		t.Errorf("%d events are stored", count)
	}
}
