// SPDX-License-Identifier: Apache-2.0

// Package succession is what one daemon leaves to the next, and what is
// believed of it.
//
// A [Record] has the state of one control connection, known by its original
// tuple. Records are lines of JSON, so that one that a newer daemon wrote can be
// read: fields that are not known are skipped. [Write] and [Read] keep them in a
// file that is good for one start; each record stands alone, so that it can be
// sent to another machine as well, where conntrack has the connection under
// another id.
//
// Nothing of a record is believed because it was written in the right place: a
// pinhole is opened again only if [Terms.Judge] finds that its control
// connection could still ask for it. The file says what may pass a firewall, and
// another process of the daemon's user can write one.
package succession
