/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_BROKER_LISTEN_H
#define RINGKIT_DATAPLANE_BROKER_LISTEN_H

#include "dataplane/wire.h"

/*
 * Listening in the namespace, the broker's part: makes and binds the socket that msg asks for
 * (bind.h), and sends it over boot_fd with the answer, or the error. Returns 0, or -errno when the
 * answer could not be sent.
 */
int broker_listen_answer(int boot_fd, const struct broker_listen *msg);

#endif
