package lint

// A Rule is something that definitions should hold to.
type Rule struct {
	Name     string
	Severity Severity
	Doc      string // one sentence that says what is found, and further ones why
	Wrong    string // a definition in which it finds something
	Right    string // the same as it should be
	Fix      string // what --fix does; "" where it does nothing
	check    func(*pass)
}

// Rules returns all rules, in the order of their names.
func Rules() []Rule {
	return []Rule{
		brokenLoad(),
		cacheOrder(),
		deprecated(),
		downloadRun(),
		droppedLayer(),
		lintComment(),
		packagePrompt(),
		scriptCRLF(),
		scriptErrexit(),
		scriptSyntax(),
		secretArgument(),
		shadowedBuiltin(),
		syntaxRule(),
		unusedArgument(),
		unusedDisable(),
		unusedLoad(),
		unusedParam(),
		unusedVariable(),
		wrongArgument(),
	}
}

// Names returns the names of rules.
func Names(rules []Rule) []string {
	names := make([]string, len(rules))
	for i, r := range rules {
		names[i] = r.Name
	}
	return names
}

// A pass is one rule at work on one file.
type pass struct {
	*file
	rule   *Rule
	report func(Finding)
}

// found reports what is at the bytes from start to end of src.
func (p *pass) found(src *source, start, end int, message, hint string, fix ...Edit) {
	f := Finding{Rule: p.rule.Name, Severity: p.rule.Severity, File: src.name, Message: message, Hint: hint, Fix: fix}
	f.Line, f.Col = src.place(start)
	f.EndLine, f.EndCol = src.place(max(start, end))
	p.report(f)
}
