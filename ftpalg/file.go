// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"bytes"
	"slices"
)

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

// pathCommands are the commands whose argument is, or ends with, a path.
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

// fileActions are the actions that some rule covers.
func (p *Policy) fileActions() (all FileActions) {
	for i := range p.Files {
		all |= p.Files[i].actions()
	}
	return all
}

// deniedFile returns the pattern that denies an action on a file.
func (p *Policy) deniedFile(action FileActions, path []byte) (pattern string, denied bool) {
	var names fileNames
	names.read(path)
	for i := range p.Files {
		r := &p.Files[i]
		if r.actions()&action == 0 {
			continue
		}
		for _, pattern := range r.Patterns {
			if names.match(pattern, r.FoldCase) {
				return pattern, true
			}
		}
	}
	return "", false
}

// fileNames are the last element of a path as servers may understand it: for some
// a path ends at a NUL, a backslash is a slash, blanks and dots at the end of a
// name do not belong to it, and "." and ".." are resolved in the text, whatever
// exists.
type fileNames struct {
	names [16][]byte
	n     int
}

func (f *fileNames) read(path []byte) {
	if i := bytes.IndexByte(path, 0); i >= 0 {
		f.read(path[:i])
	}
	for _, separators := range [...]string{"/", "/\\"} {
		name := bytes.TrimRight(path, separators)
		f.add(name[bytes.LastIndexAny(name, separators)+1:])
		if name := resolvedName(bytes.TrimRight(path, " \t"), separators); name != nil {
			f.add(name)
		}
	}
}

// add adds a name, with and without the blanks and dots at its end.
func (f *fileNames) add(name []byte) {
	for _, name := range [...][]byte{name, bytes.TrimRight(name, " \t.")} {
		if !slices.ContainsFunc(f.names[:f.n], func(other []byte) bool { return bytes.Equal(other, name) }) {
			f.names[f.n] = name
			f.n++
		}
	}
}

func (f *fileNames) match(pattern string, fold bool) bool {
	return slices.ContainsFunc(f.names[:f.n], func(name []byte) bool { return matches(pattern, name, fold) })
}

// resolvedName returns the last element of a path whose "." and ".." are resolved.
func resolvedName(path []byte, separators string) []byte {
	for up := 0; len(path) > 0; {
		name := path[bytes.LastIndexAny(path, separators)+1:]
		path = path[:max(len(path)-len(name)-1, 0)]
		switch {
		case len(name) == 0 || string(name) == ".":
		case string(name) == "..":
			up++
		case up > 0:
			up--
		default:
			return name
		}
	}
	return nil
}

// matches compares bytes with a pattern. Of several stars only the last one may
// have to be retried, so that the time is at most the product of their lengths.
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
// at a NUL, or after the first word.
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
