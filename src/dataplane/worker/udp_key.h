/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_WORKER_UDP_KEY_H
#define RINGKIT_DATAPLANE_WORKER_UDP_KEY_H

#include "dataplane/worker/udp.h"

/* Reads from a received datagram what its flow is. */

/* Writes the sender to key. Returns false when the sender cannot be answered. */
bool udp_key_client(struct udp_key *key, const struct io_datagram *d);
/* Reads the control messages. Writes the local address to key (unless NULL). Returns the length of
 * a run's datagrams; 0: it is a single datagram. */
size_t udp_read_control(const struct io_datagram *d, struct udp_key *key);
struct udp_payload udp_payload_of(const struct io_datagram *d, size_t segment);

#endif
