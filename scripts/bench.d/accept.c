// SPDX-License-Identifier: Apache-2.0
//
// accept: the least that a consumer of a netfilter queue can do, with
// libnetfilter_queue as its own example (utils/nfqnl_test.c) uses it: receive a
// packet, accept it unread. scripts/bench compares nfq with it.

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <libnetfilter_queue/libnetfilter_queue.h>

static int accept_packet(struct nfq_q_handle *queue, struct nfgenmsg *msg, struct nfq_data *data, void *unused)
{
	struct nfqnl_msg_packet_hdr *header = nfq_get_msg_packet_hdr(data);

	return nfq_set_verdict(queue, ntohl(header->packet_id), NF_ACCEPT, 0, NULL);
}

int main(int argc, char **argv)
{
	static char buffer[1 << 17];
	struct nfq_handle *handle = nfq_open();
	struct nfq_q_handle *queue;
	int n;

	if (argc != 2 || !handle)
		return 1;
	queue = nfq_create_queue(handle, atoi(argv[1]), accept_packet, NULL);
	if (!queue || nfq_set_mode(queue, NFQNL_COPY_PACKET, 0xffff) < 0 || nfq_set_queue_maxlen(queue, 4096) < 0) {
		perror("accept");
		return 1;
	}
	nfnl_rcvbufsiz(nfq_nfnlh(handle), 8 << 20);
	for (;;) {
		n = recv(nfq_fd(handle), buffer, sizeof buffer, 0);
		if (n >= 0)
			nfq_handle_packet(handle, buffer, n);
		else if (errno != ENOBUFS && errno != EINTR)
			return 1;
	}
}
