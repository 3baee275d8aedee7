// SPDX-License-Identifier: Apache-2.0

package ledger

// kind is the meaning of a command for the account.
type kind uint8

const (
	kindOther kind = iota
	kindUser
	kindPassword
	kindReinitialize
	kindType
	kindRestart
	kindDirectory
	kindParent
	kindWhere
	kindPort // may stand between REST and the transfer
	kindDown
	kindUp
)

// kinds are the commands that matter, RFC 959, 775, 2428, 3659.
var kinds = func() map[Verb]kind {
	m := map[Verb]kind{}
	for k, verbs := range map[kind][]string{
		kindUser: {"USER"}, kindPassword: {"PASS", "ACCT"}, kindReinitialize: {"REIN"},
		kindType: {"TYPE"}, kindRestart: {"REST"},
		kindDirectory: {"CWD", "XCWD"}, kindParent: {"CDUP", "XCUP"}, kindWhere: {"PWD", "XPWD"},
		kindPort: {"PORT", "PASV", "EPRT", "EPSV", "LPRT", "LPSV", "NOOP"},
		kindDown: {"RETR", "LIST", "NLST", "MLSD"}, kindUp: {"STOR", "STOU", "APPE"},
	} {
		for _, v := range verbs {
			m[verbOf([]byte(v))] = k
		}
	}
	return m
}()

func kindOf(v Verb) kind { return kinds[v] }

func isList(v Verb) bool {
	return kindOf(v) == kindDown && v != verbOf([]byte("RETR"))
}
