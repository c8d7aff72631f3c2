/* SPDX-License-Identifier: Apache-2.0
 * What every public header needs: symbol visibility and the attributes of the function contracts.
 * Invariant: nothing here depends on another header of ipcx. */
#ifndef IPCX_API_H
#define IPCX_API_H

#if defined(__GNUC__) || defined(__clang__)
#define IPCX_API __attribute__((visibility("default")))
#define IPCX_NODISCARD __attribute__((warn_unused_result))
#define IPCX_PRINTF(format_at, args_at) __attribute__((format(printf, format_at, args_at)))
#define IPCX_LIKELY(condition) __builtin_expect(!!(condition), 1)
#define IPCX_UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#else
#define IPCX_API
#define IPCX_NODISCARD
#define IPCX_PRINTF(format_at, args_at)
#define IPCX_LIKELY(condition) (condition)
#define IPCX_UNLIKELY(condition) (condition)
#endif

#endif
