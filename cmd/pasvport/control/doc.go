// SPDX-License-Identifier: Apache-2.0

// Package control is how a running daemon is asked: the types of its answers,
// the server on a unix socket, the client, and the answers as text.
//
// The protocol is HTTP with JSON bodies, GET /v1/status, /v1/sessions and
// /v1/servers, so that curl --unix-socket can ask too. What can be changed
// through it is whether a server is drained: PUT and DELETE
// /v1/servers/drain?name=NAME.
// Who may ask is the file mode of the socket: root and its group.
package control
