// SPDX-License-Identifier: Apache-2.0
//
// floor: the least that an FTP gateway can do in user space. It accepts every packet
// of a queue unread, but for one that begins with a PORT or its 227: for that it makes
// an expectation first, without waiting for the answer. It judges nothing, knows no
// session, follows no data connection and logs nothing; IPv4 without NAT only.
// scripts/bench compares pasvport with it.
//
// usage: floor QUEUE, with all packets of a connection in one queue

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char out[1024];
static int end; // of out

static void put(const void *data, int size)
{
	memcpy(out + end, data, size);
	memset(out + end + size, 0, NLMSG_ALIGN(size) - size);
	end += NLMSG_ALIGN(size);
}

static void begin(int type, int flags, int family, int id)
{
	struct nlmsghdr header = { .nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags };
	struct nfgenmsg gen = { .nfgen_family = family, .res_id = htons(id) };

	end = 0;
	put(&header, sizeof header);
	put(&gen, sizeof gen);
}

static void attr(int type, const void *data, int size)
{
	struct nlattr a = { .nla_len = NLA_HDRLEN + size, .nla_type = type };

	put(&a, sizeof a);
	put(data, size);
}

static int nest(int type)
{
	struct nlattr a = { .nla_type = NLA_F_NESTED | type };

	put(&a, sizeof a);
	return end - sizeof a;
}

static void nested(int from)
{
	((struct nlattr *)(out + from))->nla_len = end - from;
}

static void send_out(int fd)
{
	((struct nlmsghdr *)out)->nlmsg_len = end;
	if (send(fd, out, end, 0) < 0)
		perror("floor: send");
}

static void tuple(int type, in_addr_t src, in_addr_t dst, in_port_t sport, in_port_t dport)
{
	unsigned char tcp = IPPROTO_TCP;
	int t = nest(type), part = nest(CTA_TUPLE_IP);

	attr(CTA_IP_V4_SRC, &src, sizeof src);
	attr(CTA_IP_V4_DST, &dst, sizeof dst);
	nested(part);
	part = nest(CTA_TUPLE_PROTO);
	attr(CTA_PROTO_NUM, &tcp, sizeof tcp);
	attr(CTA_PROTO_SRC_PORT, &sport, sizeof sport);
	attr(CTA_PROTO_DST_PORT, &dport, sizeof dport);
	nested(part);
	nested(t);
}

// expect lets the receiver of an announcement connect to its sender.
static void expect(int fd, const struct iphdr *ip, const struct tcphdr *tcp, int port)
{
	unsigned int timeout = htonl(60);

	begin(NFNL_SUBSYS_CTNETLINK_EXP << 8 | IPCTNL_MSG_EXP_NEW, NLM_F_CREATE, AF_INET, 0);
	tuple(CTA_EXPECT_MASTER, ip->saddr, ip->daddr, tcp->source, tcp->dest);
	tuple(CTA_EXPECT_TUPLE, ip->daddr, ip->saddr, 0, htons(port));
	tuple(CTA_EXPECT_MASK, -1, -1, 0, -1);
	attr(CTA_EXPECT_TIMEOUT, &timeout, sizeof timeout);
	send_out(fd);
}

static int is_announcement(const char *text, int size)
{
	return size > 5 && (!memcmp(text, "227 ", 4) || !memcmp(text, "PORT ", 5));
}

// announced returns the port in h1,h2,h3,h4,p1,p2, 0 if there is none.
static int announced(const char *text, int size)
{
	char line[128];
	int n[6], from = 4;

	size = size < (int)sizeof line ? size : (int)sizeof line - 1;
	memcpy(line, text, size);
	line[size] = 0;
	from += strcspn(line + from, "0123456789");
	if (sscanf(line + from, "%d,%d,%d,%d,%d,%d", n, n + 1, n + 2, n + 3, n + 4, n + 5) != 6)
		return 0;
	return n[4] << 8 | n[5];
}

static void packet(int queue, int expectations, const char *data, int size, struct nfqnl_msg_verdict_hdr *verdict, int num)
{
	const struct iphdr *ip = (const void *)data;
	const struct tcphdr *tcp = (const void *)(data + ip->ihl * 4);
	int headers = ip->ihl * 4 + tcp->doff * 4, port;

	if (is_announcement(data + headers, size - headers)) {
		port = announced(data + headers, size - headers);
		if (port)
			expect(expectations, ip, tcp, port);
	}
	begin(NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_VERDICT, 0, AF_UNSPEC, num);
	attr(NFQA_VERDICT_HDR, verdict, sizeof *verdict);
	send_out(queue);
}

static int dial(void)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);

	if (fd < 0 || bind(fd, (void *)&kernel, sizeof kernel) || connect(fd, (void *)&kernel, sizeof kernel)) {
		perror("floor: netlink");
		exit(1);
	}
	return fd;
}

static void configure(int queue, int num)
{
	struct nfqnl_msg_config_cmd bind = { .command = NFQNL_CFG_CMD_BIND };
	struct nfqnl_msg_config_params params = { .copy_range = htonl(0xffff), .copy_mode = NFQNL_COPY_PACKET };

	begin(NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_CONFIG, 0, AF_UNSPEC, num);
	attr(NFQA_CFG_CMD, &bind, sizeof bind);
	send_out(queue);
	begin(NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_CONFIG, 0, AF_UNSPEC, num);
	attr(NFQA_CFG_PARAMS, &params, sizeof params);
	send_out(queue);
}

int main(int argc, char **argv)
{
	static char buffer[1 << 17];
	int num = argc == 2 ? atoi(argv[1]) : 0, queue = dial(), expectations = dial();

	configure(queue, num);
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		int n = recv(queue, buffer, sizeof buffer, 0);
		struct nlmsghdr *m = (void *)buffer;
		struct nfqnl_msg_verdict_hdr verdict = { .verdict = htonl(NF_ACCEPT) };
		const char *data = NULL;
		int size = 0, at;

		if (n < (int)NLMSG_HDRLEN || m->nlmsg_type == NLMSG_ERROR) {
			fprintf(stderr, "floor: queue %d: the kernel refused something\n", num);
			return 1;
		}
		for (at = NLMSG_HDRLEN + sizeof(struct nfgenmsg); at + NLA_HDRLEN <= n;) {
			struct nlattr *a = (void *)(buffer + at);

			if ((a->nla_type & NLA_TYPE_MASK) == NFQA_PACKET_HDR)
				verdict.id = ((struct nfqnl_msg_packet_hdr *)(buffer + at + NLA_HDRLEN))->packet_id;
			else if ((a->nla_type & NLA_TYPE_MASK) == NFQA_PAYLOAD)
				data = buffer + at + NLA_HDRLEN, size = a->nla_len - NLA_HDRLEN;
			at += NLA_ALIGN(a->nla_len);
		}
		packet(queue, expectations, data, size, &verdict, num);
	}
}
