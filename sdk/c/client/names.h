/* names: what the files of the client share is nobody else's in a program. */
#define client_now tova__client_now
#define client_left tova__client_left
#define client_uuid tova__client_uuid
#define client_curl tova__client_curl
#define client_said tova__client_said
#define client_http_commit tova__client_http_commit
#define client_sp_commit tova__client_sp_commit
#define client_close tova__client_close
#define dump_text tova__client_dump_text
