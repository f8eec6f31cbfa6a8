// Godoc writes the reference of a Go package as a page for mkdocs: go run scripts/godoc.go DIRECTORY IMPORT_PATH >PAGE
//
// The standard library's go/doc does the work, so no tool is to be installed. Something exported that has no comment ends it with an error.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/doc"
	"go/doc/comment"
	"go/format"
	"go/parser"
	"go/token"
	"log"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: godoc DIRECTORY IMPORT_PATH")
	}
	files, err := parsed(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	fset := files.set
	docs, err := doc.NewFromFiles(fset, files.of, os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	page := page{docs: docs, set: fset}
	page.write()
	if len(page.missing) > 0 {
		log.Fatalf("%s: no comment: %s", os.Args[2], strings.Join(page.missing, ", "))
	}
	if _, err := os.Stdout.Write(page.out.Bytes()); err != nil {
		log.Fatal(err)
	}
}

type sources struct {
	set *token.FileSet
	of  []*ast.File
}

// parsed reads what a user of the package compiles, and the tests for their examples.
func parsed(directory string) (sources, error) {
	found := sources{set: token.NewFileSet()}
	paths, err := filepath.Glob(filepath.Join(directory, "*.go"))
	if err != nil || len(paths) == 0 {
		return found, errors.Join(err, fmt.Errorf("no Go files in %q", directory))
	}
	for _, path := range paths {
		file, err := parser.ParseFile(found.set, path, nil, parser.ParseComments)
		if err != nil {
			return found, err
		}
		found.of = append(found.of, file)
	}
	return found, nil
}

type page struct {
	docs    *doc.Package
	set     *token.FileSet
	out     bytes.Buffer
	missing []string
}

func (p *page) write() {
	p.printf("# Go: package %s\n\n", p.docs.Name)
	p.code("import \"" + p.docs.ImportPath + "\"")
	p.text("package "+p.docs.Name, p.docs.Doc)
	p.examples(p.docs.Examples)
	p.values("Constants", p.docs.Consts)
	p.values("Variables", p.docs.Vars)
	if len(p.docs.Funcs) > 0 {
		p.printf("## Functions\n\n")
	}
	p.funcs(p.docs.Funcs, "")
	for _, t := range p.docs.Types {
		p.anchor(t.Name)
		p.printf("## type %s\n\n", t.Name)
		p.declaration(t.Decl)
		p.text(t.Name, t.Doc)
		p.fields(t)
		p.examples(t.Examples)
		p.values("", t.Consts)
		p.values("", t.Vars)
		p.funcs(t.Funcs, "")
		p.funcs(t.Methods, t.Name+".")
	}
}

func (p *page) values(title string, values []*doc.Value) {
	if len(values) > 0 && title != "" {
		p.printf("## %s\n\n", title)
	}
	for _, v := range values {
		for _, name := range v.Names {
			p.anchor(name)
		}
		p.declaration(v.Decl)
		if v.Doc != "" {
			p.text("", v.Doc)
		}
		for _, spec := range v.Decl.Specs {
			value := spec.(*ast.ValueSpec)
			if v.Doc == "" && value.Doc == nil && value.Comment == nil && ast.IsExported(value.Names[0].Name) {
				p.missing = append(p.missing, value.Names[0].Name)
			}
		}
	}
}

func (p *page) funcs(funcs []*doc.Func, owner string) {
	for _, f := range funcs {
		p.anchor(owner + f.Name)
		p.printf("### func %s%s\n\n", owner, f.Name)
		p.declaration(f.Decl)
		p.text(owner+f.Name, f.Doc)
		p.examples(f.Examples)
	}
}

// fields finds fields of structs, and methods of interfaces, without a comment. Their comments stand in the declaration.
func (p *page) fields(t *doc.Type) {
	ast.Inspect(t.Decl, func(node ast.Node) bool {
		list, ok := node.(*ast.FieldList)
		if _, isFunc := node.(*ast.FuncType); isFunc || !ok {
			return !isFunc
		}
		for _, field := range list.List {
			for _, name := range field.Names {
				if name.IsExported() && field.Doc == nil && field.Comment == nil {
					p.missing = append(p.missing, t.Name+"."+name.Name)
				}
			}
		}
		return true
	})
}

func (p *page) examples(examples []*doc.Example) {
	for _, example := range examples {
		title := "Example"
		if example.Suffix != "" {
			title += ": " + example.Suffix
		}
		p.printf("%s:\n\n", title)
		p.code(p.source(example.Code))
	}
}

// text writes a comment. References lead to anchors of this page, or to the standard library's documentation.
func (p *page) text(what, text string) {
	if strings.TrimSpace(text) == "" {
		p.missing = append(p.missing, what)
		return
	}
	printer := p.docs.Printer()
	printer.HeadingLevel = 3
	printer.HeadingID = func(*comment.Heading) string { return "" }
	printer.DocLinkURL = func(link *comment.DocLink) string {
		if link.ImportPath != "" {
			return link.DefaultURL("https://pkg.go.dev")
		}
		return "#" + strings.TrimPrefix(link.Recv+"."+link.Name, ".")
	}
	p.out.Write(printer.Markdown(p.docs.Parser().Parse(text)))
	p.printf("\n")
}

func (p *page) declaration(node ast.Decl) {
	// The comment above it stands below it, as text.
	switch node := node.(type) {
	case *ast.FuncDecl:
		node.Doc, node.Body = nil, nil
	case *ast.GenDecl:
		node.Doc = nil
		if len(node.Specs) == 1 && node.Lparen == token.NoPos {
			if spec, ok := node.Specs[0].(*ast.TypeSpec); ok {
				spec.Doc = nil
			}
		}
	}
	p.code(p.source(node))
}

func (p *page) source(node ast.Node) string {
	var out bytes.Buffer
	if err := format.Node(&out, p.set, node); err != nil {
		log.Fatal(err)
	}
	text := out.String()
	if block, ok := node.(*ast.BlockStmt); ok && block != nil {
		text = strings.TrimSuffix(strings.TrimPrefix(text, "{"), "}")
		text = strings.ReplaceAll(text, "\n\t", "\n")
	}
	return strings.TrimSpace(text)
}

func (p *page) code(text string) { p.printf("```go\n%s\n```\n\n", text) }

func (p *page) anchor(id string) { p.printf("<a id=\"%s\"></a>\n\n", id) }

func (p *page) printf(format string, arguments ...any) { fmt.Fprintf(&p.out, format, arguments...) }
