/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGKIT_BASE_RESIDENT_H
#define RINGKIT_BASE_RESIDENT_H

/* Gives back the memory that only the set-up has used: free heap, and the mapped pages of code and
 * constants, of our program and its libraries, which the kernel reads from its cache when they are
 * used again. For a process that mostly waits from now on. */
void resident_trim(void);

#endif
