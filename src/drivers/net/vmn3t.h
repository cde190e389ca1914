/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DRIVERS_NET_VMN3T_H
#define RINGKIT_DRIVERS_NET_VMN3T_H

#include <net/ethernet.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * VMN3T, the protocol on the socket of VPNKit's --ethernet, as recorded from vpnkit (tests/golden
 * has the recordings). Each side sends an init message, the client a command with a UUID, the
 * server an answer with the client's MAC address. Then Ethernet frames go both ways, each after its
 * length in 16 bits, little endian. Pure functions.
 */

#define VMN3T_INIT_BYTES    49
#define VMN3T_COMMAND_BYTES 41
#define VMN3T_ANSWER_BYTES  258
#define VMN3T_UUID_CHARS    36
#define VMN3T_HEADER_BYTES  2
#define VMN3T_FRAME_MAX	    65535

/* The server's description of the client's interface. */
struct vmn3t_vif {
	unsigned mtu, max_packet;
	uint8_t mac[ETH_ALEN];
};

void vmn3t_build_init(uint8_t out[VMN3T_INIT_BYTES]);

/* Builds the command "ethernet". uuid: 36 characters of text. */
void vmn3t_build_command(const char *uuid, uint8_t out[VMN3T_COMMAND_BYTES]);

/* Checks the server's init message. 0, or -EPROTO with what came instead. */
int vmn3t_check_init(const uint8_t in[VMN3T_INIT_BYTES], struct err *e);

/* Parses the server's answer. 0, -ECONNREFUSED with the server's reason, or -EPROTO. */
int vmn3t_parse_answer(const uint8_t in[VMN3T_ANSWER_BYTES], struct vmn3t_vif *out, struct err *e);

void vmn3t_put_header(uint8_t out[VMN3T_HEADER_BYTES], size_t frame_len);

/* Finds the frame at the start of buf: *frame and *frame_len. Returns the bytes that it takes with
 * its header; 0 when it is not complete. */
size_t vmn3t_next_frame(const uint8_t *buf, size_t len, const uint8_t **frame, size_t *frame_len);

#endif
