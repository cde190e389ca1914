/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_UDP_KEY_H
#define RINGKIT_DATAPLANE_WORKER_UDP_KEY_H

#include "dataplane/worker/udp.h"

/* What a received datagram says of its flow. */

/* Who has sent it, into key. False: nobody that could be answered. */
bool udp_key_client(struct udp_key *key, const struct io_datagram *d);
/* Reads the control messages: the local address into key (unless NULL). Returns the length of
 * a run's datagrams, 0 when it is none. */
size_t udp_read_control(const struct io_datagram *d, struct udp_key *key);
struct udp_payload udp_payload_of(const struct io_datagram *d, size_t segment);

#endif
