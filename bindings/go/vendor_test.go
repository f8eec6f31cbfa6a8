package ackbus

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// T25: a project that vendors this package has all that it needs to build: the header comes along, and pkg-config finds the library.
func TestVendoring(t *testing.T) {
	if _, err := exec.LookPath("pkg-config"); err != nil {
		t.Skip("skipped: there is no pkg-config")
	}
	here, err := os.Getwd()
	must(t, err)
	target := os.Getenv("CARGO_TARGET_DIR")
	if target == "" {
		target = filepath.Join(here, "..", "..", "target")
	}
	library := filepath.Join(target, "release")
	project := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		must(t, os.WriteFile(filepath.Join(project, path), []byte(text), 0o644))
	}
	write("go.mod", "module project\n\ngo 1.24\n\nrequire ackbus v0.0.0\n\nreplace ackbus => "+here+"\n")
	write("main.go", `package main

import (
	"context"
	"fmt"

	"ackbus"
)

func main() {
	bus, err := ackbus.Connect(context.Background(), ackbus.WithServers("memory:"))
	if err != nil {
		panic(err)
	}
	fmt.Println(bus.PublishBatch(context.Background(), []ackbus.Message{{Topic: "a"}}))
	fmt.Println(bus.Close(context.Background()), ackbus.LibraryVersion())
}
`)
	// What an installation writes. The header must come from the vendored package, so there is none here.
	write("ackbus.pc", "Name: ackbus\nDescription: an installed library\nVersion: 0\nLibs: -L"+library+" -lackbus\n")
	run := func(name string, arguments ...string) string {
		t.Helper()
		command := exec.Command(name, arguments...)
		command.Dir = project
		command.Env = append(os.Environ(), "PKG_CONFIG_PATH="+project, "LD_LIBRARY_PATH="+library, "GOFLAGS=-buildvcs=false")
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, arguments, err, out)
		}
		return string(out)
	}
	run("go", "mod", "vendor")
	if got := read(t, filepath.Join(project, "vendor", "ackbus", header)); got != read(t, header) {
		t.Error("the vendored header is another one")
	}
	run("go", "build", "-mod=vendor", "-tags", "ackbus_pkgconfig", "-o", "program", ".")
	out := run(filepath.Join(project, "program"))
	equal(t, "its output", strings.TrimSpace(out), "1 <nil>\n<nil> "+LibraryVersion())
}
