/* names: as in sdk/c/names.h, what the harness's own functions are called where it is linked: a
 * plugin under test may have a function of any name that does not begin with `tova_`. */
#ifndef TOVA_TEST_NAMES_H
#define TOVA_TEST_NAMES_H

#define commit_add tova__commit_add
#define commit_apply tova__commit_apply
#define commit_cancel_all tova__commit_cancel_all
#define commit_copy tova__commit_copy
#define commit_drop tova__commit_drop
#define commit_error_text tova__commit_error_text
#define commit_free_messages tova__commit_free_messages
#define commit_give tova__commit_give
#define commit_is_member tova__commit_is_member
#define commit_leave_all tova__commit_leave_all
#define commit_spoil tova__commit_spoil
#define commit_user tova__commit_user
#define harness_alloc tova__harness_alloc
#define harness_find tova__harness_find
#define harness_table tova__harness_table
#define history_forget tova__history_forget
#define history_give tova__history_give
#define history_holds tova__history_holds
#define history_keep tova__history_keep
#define history_reply tova__history_reply
#define kept_forget tova__kept_forget
#define kept_holds tova__kept_holds
#define kept_set tova__kept_set
#define kept_state tova__kept_state
#define presence_due tova__presence_due
#define presence_forget tova__presence_forget
#define presence_is_empty tova__presence_is_empty
#define presence_lost tova__presence_lost
#define presence_next tova__presence_next
#define presence_unwatch tova__presence_unwatch
#define presence_watch tova__presence_watch

#endif
