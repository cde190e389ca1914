/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_STATE_NAMES_H
#define RINGKIT_BASE_STATE_NAMES_H

/*
 * The names that a state directory may hold. Its owner removes these names and no others
 * (launch/statedir.c), so code that makes a file there has its name here.
 */
#define STATE_LOCK	    "lock"
#define STATE_CHILD_PID	    "child_pid"
#define STATE_CHILD_PID_NEW ".child_pid" /* until it is whole */
#define STATE_API_SOCKET    "api.sock"
#define STATE_NETNS	    "netns"
#define STATE_RESOLV_CONF   "resolv.conf"
#define STATE_HOSTS	    "hosts"

#define STATE_SLIRP4NETNS_SOCKET ".s4nn.sock"
#define STATE_VPNKIT_SOCKET	 "vpnkit-ethernet.sock"
#define STATE_VDEPLUG_SOCKET	 "vdeplug-ptp.sock"
#define STATE_VDEPLUG_SOCKET_2	 "vdeplug-ptp.sock+" /* the second end's */
#define STATE_PASTA_SOCKET	 ".pasta.sock"	     /* pasta's --conf-path */

/* Files of RootlessKit, which remain when it has crashed. */
#define STATE_ROOTLESSKIT_PORT_SOCKET ".bp.sock"
#define STATE_ROOTLESSKIT_PORT_PIPE   ".bp-ready.pipe"
#define STATE_ROOTLESSKIT_GVISOR      "gvisortapvsock"
#define STATE_ROOTLESSKIT_GVISOR_TAP  "tap.sock" /* in that directory */

/* A script of Usernetes writes this file, and takes its content for the pid of the present
 * instance. */
#define STATE_USERNETES_READY "_child_pid.u7s-ready"

#endif
