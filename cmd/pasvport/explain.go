// SPDX-License-Identifier: Apache-2.0

package main

// explanation is a list in a manual page: what each column or state means.
type explanation struct {
	title string
	words [][2]string
}

// explanations are the lists of each command's page, by the command's name.
var explanations = map[string][]explanation{
	"status": {{"LINES", [][2]string{
		{"pasvport", "Version of the daemon."},
		{"pid, up", "Its process, and how long that has run."},
		{"table, ports, allow, fail", "Settings in force; see \\fBpasvport.yaml\\fP(5)."},
		{"monitor", "There only if on: everything is read and judged, nothing is changed or opened."},
		{"configuration", "The file that settings come from besides flags."},
		{"setting", "A setting that is not the default, and its values; of policies and virtual-servers how many there are."},
		{"tls, tls-ports, checks, repair, advertise, session-idle", "More settings in force."},
		{"outside", "A name or an interface of advertise: the address that it has, when that was found and when it is looked up again, and what went wrong."},
		{"keep-alive", "The idle time after which both ends are probed; and why that is not possible, if it was asked for and is not."},
		{"ct mark", "The two bits that are ours with allow: mark; none otherwise."},
		{"strategy", "How data connections become known to the kernel: expectation or claim, with the carrier, which is what control connections are given so that they can have expectations: sane (the in-kernel helper of that name), bare, or none."},
		{"features", "What trying the kernel found; \"no\" is before what it does not have. \\fBpasvport doctor\\fP says what gives it."},
		{"sessions", "Control connections now."},
		{"pinholes", "Announced data connections that have not come yet."},
		{"limits", "How full each is: max-sessions, max-client-sessions (of the client that has most), max-pinholes, max-client-pinholes (likewise)."},
		{"login-failures", "How many failed logins have a client blocked, and for how long."},
		{"blocked", "A client that is blocked, and for how much longer; pasvport unblock lets it in."},
		{"heals", "How often our rules were put back after somebody had taken them away."},
		{"queue N", "native or xt is the way packets come; then packets received, packets that wait in the kernel, packets the kernel dropped because the queue was full, messages that the socket had no room for, and packets that could not be read and passed as they were."},
		{"expectations", "How many the kernel has, of whatever helper, and how many it has room for."},
		{"unread", "Lines that passed in the kernel (fast-path)."},
		{"decided REASON", "How often the engine decided so; docs/reference.md explains each reason."},
		{"note", "What the administrator should know, such as a metrics address that cannot be had."},
	}}},
	"sessions": {{"COLUMNS", [][2]string{
		{"ID", "Of the conntrack entry, as \\fBconntrack -L -o id\\fP shows it."},
		{"CLIENT", "The client's own address."},
		{"SERVER", "The server's own address."},
		{"USER", "The name of an accepted login."},
		{"LAST", "The last command, without its argument."},
		{"MODE", "By the last announcement: active (the server opens data connections: PORT, EPRT) or passive (the client does: PASV, EPSV)."},
		{"STATE", "See STATES."},
		{"AGE", "Since it began; after a crash of the daemon, since it was taken back."},
		{"IDLE", "Since its last packet; 0 while it transfers."},
		{"DOWN, UP", "Bytes that its data connections have carried to the client and from it, where the kernel counts bytes (sysctl net.netfilter.nf_conntrack_acct=1)."},
		{"PINHOLE", "What became of the last announcement; see PINHOLES."},
		{"NAT", "What this machine translates, where it does: none, snat (the client's address), dnat (the server's), or both."},
		{"SEEN AS", "The client as the server sees it."},
		{"DIALLED", "The server as the client sees it."},
		{"NOTE", "Why it is not looked at any more, or what is particular about it."},
	}}, {"STATES", [][2]string{
		{"login", "The login has not been accepted yet."},
		{"idle", "Logged in, and no data connection is open."},
		{"transfer", "A data connection is open."},
		{"tls", "Encrypted: not read any more."},
		{"opaque", "Left alone, because it does not begin as FTP does or for another reason that NOTE says."},
		{"closing", "One end has said its last."},
		{"closed", "Both have, or one has reset it; the entry goes within seconds."},
	}}, {"PINHOLES", [][2]string{
		{"open", "The data connection may come."},
		{"used", "It came."},
		{"expired", "It did not come in time."},
		{"closed", "Another announcement replaced it, or the server refused the command."},
		{"refused", "Nothing was opened; the log says why."},
		{"monitored", "Nothing is opened, as the session is only monitored."},
	}}},
	"servers": {{"COLUMNS", [][2]string{
		{"VIRTUAL", "Name of the virtual server."},
		{"METHOD", "How new sessions are spread: round-robin, source-hash or least-sessions."},
		{"SERVER, ADDRESS", "A server and one of its addresses."},
		{"WEIGHT", "Its share of new sessions beside the others' weights."},
		{"STATE", "See STATES."},
		{"FOR", "How long it has been up or down."},
		{"SESSIONS", "Control connections that it has."},
		{"SHARE", "Of new sessions, as things are."},
		{"LAST CHECK, AGO", "ok, or what was wrong; and when that was."},
	}}, {"STATES", [][2]string{
		{"up", "Its checks succeed, or it has none: it gets new sessions."},
		{"slow-start", "It came back a short time ago, and gets less than its share yet."},
		{"down", "Its checks fail: it gets none, and keeps those that it has."},
		{"draining", "Taken out by \\fBservers drain\\fP, with sessions still."},
		{"drained", "Taken out, and without sessions."},
	}}},
	"rules": {{"OUTPUT", [][2]string{
		{"table inet pasvport", "The whole table as \\fBrun\\fP would install it here, with a line of explanation above each rule; and, with allow: chain=, the rule and the set that would go into each chain."},
	}}},
	"doctor": {{"OUTPUT", [][2]string{
		{"problem", "FTP does not work, or not always; the lines below say what was seen and what to change. Exit status 1."},
		{"warn", "It may not work, or that cannot be told from here."},
		{"ok", "As it should be."},
	}}},
}
