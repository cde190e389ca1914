/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/net/vmn3t.h"

#include <errno.h>
#include <string.h>

#define MAGIC		  "VMN3T"
#define MAGIC_BYTES	  5
#define VERSION		  22
#define COMMAND_ETHERNET  1
#define ANSWER_VIF	  1
#define ANSWER_DISCONNECT 2

static unsigned get16(const uint8_t *p)
{
	return (unsigned)p[1] << 8 | p[0];
}

void vmn3t_build_init(uint8_t out[VMN3T_INIT_BYTES])
{
	memset(out, 0, VMN3T_INIT_BYTES);
	memcpy(out, MAGIC, MAGIC_BYTES);
	out[MAGIC_BYTES] = VERSION;
	/* The commit that the client was built from; no server looks at it. */
	memset(out + MAGIC_BYTES + 4, '0', VMN3T_INIT_BYTES - MAGIC_BYTES - 4);
}

void vmn3t_build_command(const char *uuid, uint8_t out[VMN3T_COMMAND_BYTES])
{
	memset(out, 0, VMN3T_COMMAND_BYTES);
	out[0] = COMMAND_ETHERNET;
	memcpy(out + 1, uuid, VMN3T_UUID_CHARS);
}

int vmn3t_check_init(const uint8_t in[VMN3T_INIT_BYTES], struct err *e)
{
	const uint8_t *v = in + MAGIC_BYTES;
	uint32_t version = (uint32_t)get16(v + 2) << 16 | get16(v);

	if (memcmp(in, MAGIC, MAGIC_BYTES))
		return err_set(e, -EPROTO, "what answers does not speak VPNKit's protocol (VMN3T)");
	if (version != VERSION)
		return err_set(e, -EPROTO, "VPNKit's protocol has version %u, %d is needed",
			       version, VERSION);
	return 0;
}

/* Reads the server's reason: a length and that many characters. */
static int disconnected(const uint8_t *in, struct err *e)
{
	char text[256];
	size_t len = in[0];

	for (size_t i = 0; i < len; i++)
		text[i] = in[1 + i] >= ' ' && in[1 + i] < 0x7f ? (char)in[1 + i] : '?';
	text[len] = '\0';
	return err_set(e, -ECONNREFUSED, "VPNKit refused: %s", text);
}

int vmn3t_parse_answer(const uint8_t in[VMN3T_ANSWER_BYTES], struct vmn3t_vif *out, struct err *e)
{
	if (in[0] == ANSWER_DISCONNECT)
		return disconnected(in + 1, e);
	if (in[0] != ANSWER_VIF)
		return err_set(e, -EPROTO, "VPNKit gave an answer of unknown kind %u", in[0]);
	out->mtu = get16(in + 1);
	out->max_packet = get16(in + 3);
	memcpy(out->mac, in + 5, ETH_ALEN);
	if (out->mac[0] & 1 || !memcmp(out->mac, "\0\0\0\0\0", ETH_ALEN))
		return err_set(e, -EPROTO, "VPNKit gave a MAC address that no interface can have");
	return 0;
}

void vmn3t_put_header(uint8_t out[VMN3T_HEADER_BYTES], size_t frame_len)
{
	out[0] = (uint8_t)frame_len;
	out[1] = (uint8_t)(frame_len >> 8);
}

size_t vmn3t_next_frame(const uint8_t *buf, size_t len, const uint8_t **frame, size_t *frame_len)
{
	size_t n;

	if (len < VMN3T_HEADER_BYTES)
		return 0;
	n = get16(buf);
	if (len - VMN3T_HEADER_BYTES < n)
		return 0;
	*frame = buf + VMN3T_HEADER_BYTES;
	*frame_len = n;
	return VMN3T_HEADER_BYTES + n;
}
