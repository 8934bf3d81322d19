#include "net/out_message.h"

void out_message_drop(struct out_message *o)
{
	for (unsigned i = 0; i < DEFLATE_WINDOWS; i++)
		if (o->tried & 1u << i)
			slice_unref(&o->packed[i]);
	o->tried = 0;
}
