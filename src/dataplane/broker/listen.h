/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_DATAPLANE_BROKER_LISTEN_H
#define RINGKIT_DATAPLANE_BROKER_LISTEN_H

#include "dataplane/wire.h"

/*
 * The broker's part in listening in the namespace: makes and binds the socket that msg asks for, as
 * bind.h has it, and sends it back over boot_fd with the answer, or why there is none.
 * 0 or -errno, when the answer could not be sent.
 */
int broker_listen_answer(int boot_fd, const struct broker_listen *msg);

#endif
