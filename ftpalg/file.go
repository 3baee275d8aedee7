// SPDX-License-Identifier: Apache-2.0

package ftpalg

import "bytes"

// FileActions are what a client does to a file.
type FileActions uint8

const (
	// FileUpload: STOR, APPE, STOU.
	FileUpload FileActions = 1 << iota
	// FileDownload: RETR.
	FileDownload
	// FileDelete: DELE, RMD.
	FileDelete
	// FileRename: RNFR and RNTO.
	FileRename
)

func (r *FileRule) actions() FileActions {
	if r.Actions == 0 {
		return FileUpload | FileDownload | FileDelete | FileRename
	}
	return r.Actions
}

// fileActions are what commands do to the file that they name.
var fileActions = map[verb]FileActions{
	{'S', 'T', 'O', 'R'}: FileUpload, {'A', 'P', 'P', 'E'}: FileUpload, {'S', 'T', 'O', 'U'}: FileUpload,
	{'R', 'E', 'T', 'R'}: FileDownload,
	{'D', 'E', 'L', 'E'}: FileDelete, {'R', 'M', 'D'}: FileDelete, {'X', 'R', 'M', 'D'}: FileDelete,
	{'R', 'N', 'F', 'R'}: FileRename, {'R', 'N', 'T', 'O'}: FileRename,
}

// pathCommands are those whose argument is, or ends with, a path.
var pathCommands = func() map[verb]bool {
	m := map[verb]bool{}
	for _, name := range [...]string{"STOR", "APPE", "STOU", "RETR", "DELE", "RMD", "XRMD", "RNFR", "RNTO", "CWD", "XCWD", "MKD", "XMKD",
		"LIST", "NLST", "MLSD", "MLST", "STAT", "SIZE", "MDTM", "MFMT", "MFCT", "MFF", "SMNT", "HASH", "XCRC", "AVBL", "DSIZ", "THMB", "COMB"} {
		var v verb
		copy(v[:], name)
		m[v] = true
	}
	return m
}()

// fileActions are those that a rule is about.
func (p *Policy) fileActions() (all FileActions) {
	for i := range p.Files {
		all |= p.Files[i].actions()
	}
	return all
}

// deniedFile returns the pattern that denies an action on a file.
func (p *Policy) deniedFile(action FileActions, path []byte) (pattern string, denied bool) {
	for i := range p.Files {
		r := &p.Files[i]
		if r.actions()&action == 0 {
			continue
		}
		for _, pattern := range r.Patterns {
			if matchesFile(pattern, path, r.FoldCase) {
				return pattern, true
			}
		}
	}
	return "", false
}

// matchesFile compares a pattern with the last element of a path, as servers
// understand it: for some a name ends at a NUL, a backslash is a slash, and blanks
// and dots at the end of a name are none of it.
func matchesFile(pattern string, path []byte, fold bool) bool {
	if i := bytes.IndexByte(path, 0); i >= 0 && matchesFile(pattern, path[:i], fold) {
		return true
	}
	for _, separators := range [...]string{"/", "/\\"} {
		name := bytes.TrimRight(path, separators)
		name = name[bytes.LastIndexAny(name, separators)+1:]
		if matches(pattern, name, fold) || matches(pattern, bytes.TrimRight(name, " \t."), fold) {
			return true
		}
	}
	return false
}

// matches compares bytes with a pattern. Of several stars only the last one may
// have to be tried again, so that the time is at most their product.
func matches(pattern string, b []byte, fold bool) bool {
	p, i, star, again := 0, 0, -1, 0
	for i < len(b) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, again = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || sameByte(pattern[p], b[i], fold)):
			p, i = p+1, i+1
		case star >= 0:
			again++
			p, i = star+1, again
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

func sameByte(a, b byte, fold bool) bool {
	return a == b || fold && isLetter(a) && isLetter(b) && a|0x20 == b|0x20
}

// denies reports whether a user's name is not permitted. For some servers it ends
// at a NUL, or with the first word.
func (a Anonymous) denies(name []byte) bool {
	name = trimBlanks(name)
	word := name
	if i := bytes.IndexAny(name, " \t\x00"); i >= 0 {
		word = name[:i]
	}
	if a == AnonymousNever {
		return isAnonymous(word)
	}
	return !isAnonymous(name)
}

func isAnonymous(name []byte) bool { return equalFold(name, "ANONYMOUS") || equalFold(name, "FTP") }
