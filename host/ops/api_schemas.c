#include "ops/api_schemas.h"

#define TEXT "{'type':'string'}"
#define NUMBER "{'type':'integer','minimum':0}"
#define FLAG "{'type':'boolean'}"
#define TEXT_OR_NULL "{'type':['string','null']}"
#define TIME "{'type':'string','format':'date-time'}"
#define LIST(of) "{'type':'array','items':" of "}"
#define REF(name) "{'$ref':'#/components/schemas/" name "'}"
/* An object that has no others than these members. */
#define OBJECT(required, members) \
	"{'type':'object','required':[" required "],'properties':{" members \
	"},'additionalProperties':false}"
/* A page of a list. */
#define PAGE(name, of) \
	OBJECT("'" name "'", \
	       "'" name "':" LIST(REF(of)) ",'next':{'type':'string'," \
					   "'description':'the cursor of the next page'}")

#define ROOM "{'type':'string','minLength':1,'maxLength':255}"
#define KEY ",'key':{'type':'string','maxLength':255,'description':'of --slow-policy conflate'}"
#define DATA \
	"'data':" TEXT \
	",'bin':{'type':'integer','minimum':0,'description':'instead of data: so many " \
	"bytes stand behind the JSON and a line feed'}"
#define EXCLUDE \
	",'exclude':{'type':['string','array'],'items':{'type':'string'},'maxItems':256}," \
	"'exclude_users':{'type':'array','items':{'type':'string'},'maxItems':256}," \
	"'exclude_rooms':{'type':'array','items':" ROOM ",'maxItems':256}"
#define ROOMS "'room':" ROOM ",'rooms':{'type':'array','items':" ROOM ",'maxItems':256}"
#define CODE "{'type':'integer','minimum':1000,'maximum':4999}"
#define REASON "{'type':'string','maxLength':123}"
#define EXPIRES \
	"'expires':{'type':'integer','minimum':0,'description':'milliseconds since 1970: what comes " \
	"later is refused'}"
/* One command: its own members, and what all have. */
#define COMMAND(required, members) \
	OBJECT(required, members ",'c':" TEXT ",'mount':{'type':'string','description':'of which " \
				 "mount; may be missing where there is one'}," EXPIRES)
/* One of a list of commands: its own members, and which it is. */
#define LISTED(word, schema) \
	"{'allOf':[" REF(schema) "],'required':['c'],'properties':{'c':{'const':'" word "'}}}"
#define OF_CONNECTION \
	"'conn':" TEXT ",'mount':" TEXT ",'path':" TEXT ",'user':" TEXT_OR_NULL ",'remote':" TEXT \
	",'age_ms':" NUMBER ",'rooms':" NUMBER ",'events':" NUMBER ",'waiting':" NUMBER \
	",'dropped':" NUMBER
#define OF_CONNECTION_NAMES \
	"'conn','mount','path','user','remote','age_ms','rooms','events','waiting','dropped'"

/* Of a connection that somebody has looked at. */
#define PER_SECOND "{'type':'number','minimum':0}"
#define SEEN \
	",'request':" OBJECT("'opened','origin','user_agent','subprotocol','tls'", "'opened':" TIME ",'origin':" TEXT_OR_NULL ",'user_agent':" TEXT_OR_NULL ",'subprotocol':" TEXT_OR_NULL ",'tls':" TEXT_OR_NULL) ",'traffic':" OBJECT( \
		"'counted_ms','messages_in','bytes_in','messages_out','bytes_out','queue_max'", \
		"'counted_ms':" NUMBER ",'messages_in':" NUMBER ",'bytes_in':" NUMBER \
		",'messages_out':" NUMBER ",'bytes_out':" NUMBER \
		",'queue_max':" NUMBER) ",'per_second':" OBJECT("'counted_s','messages_in','bytes_in','messages_out','bytes_out'", \
								"'counted_s':" PER_SECOND \
								",'messages_in':" PER_SECOND \
								",'bytes_in':" PER_SECOND \
								",'messages_out':" PER_SECOND \
								",'bytes_out':" PER_SECOND) ",'last_events':" LIST(OBJECT("'event','ago_ms','bytes','ok'", \
															  "'event':" TEXT \
															  ",'ago_ms':" NUMBER \
															  ",'bytes':" NUMBER \
															  ",'ok':" FLAG))

const struct api_schema api_schemas[] = {
	{"Error",
	 OBJECT("'error'",
		"'error':{'type':'string','description':'a sentence'},'index':{'type':'integer',"
		"'minimum':0,'description':'the place of the command that is wrong'}")},
	/* commands */
	{"Send", COMMAND("'conn'", "'conn':" TEXT "," DATA KEY)},
	{"Broadcast", COMMAND("", DATA EXCLUDE KEY)},
	{"BroadcastTo", COMMAND("", ROOMS "," DATA EXCLUDE KEY ",'keep':" FLAG)},
	{"Join",
	 COMMAND("'conn','room'",
		 "'conn':" TEXT ",'room':" ROOM
		 ",'max':{'type':'integer','minimum':1},'users_max':{'type':'integer','minimum':1},"
		 "'first':" FLAG ",'replace':" FLAG ",'last':" NUMBER ",'since':" NUMBER
		 ",'epoch':" NUMBER ",'else':{'enum':['last','fail']}")},
	{"Leave", COMMAND("'conn','room'", "'conn':" TEXT ",'room':" ROOM)},
	{"LeaveAll", COMMAND("'conn'", "'conn':" TEXT)},
	{"Prolong", COMMAND("'conn','token'", "'conn':" TEXT ",'token':{'type':'string','maxLength':8192}")},
	{"Info", COMMAND("'conn'", "'conn':" TEXT ",'info':{'type':'string','maxLength':1024},"
				   "'user':{'type':'string','maxLength':255}")},
	{"CloseRoom", COMMAND("", ROOMS EXCLUDE ",'code':" CODE ",'reason':" REASON)},
	{"Close", COMMAND("'conn'", "'conn':" TEXT ",'code':" CODE ",'reason':" REASON)},
	{"Set", COMMAND("'conn'", "'conn':" TEXT ",'state':" TEXT ",'state_bin':" NUMBER
				  ",'if_state':" TEXT ",'if_state_bin':" NUMBER)},
	{"SetRoom", COMMAND("'room'", "'room':" ROOM ",'state':" TEXT ",'state_bin':" NUMBER
					",'version':" NUMBER)},
	{"Commands",
	 OBJECT("'commands'",
		"'mount':" TEXT "," EXPIRES ",'commands':{'type':'array','items':{'oneOf':["
		LISTED("send", "Send") ","
		LISTED("broadcast", "Broadcast") ","
		LISTED("broadcast_to", "BroadcastTo") ","
		LISTED("join", "Join") ","
		LISTED("leave", "Leave") ","
		LISTED("leave_all", "LeaveAll") ","
		LISTED("prolong", "Prolong") ","
		LISTED("info", "Info") ","
		LISTED("close_room", "CloseRoom") ","
		LISTED("close", "Close") ","
		LISTED("set", "Set") ","
		LISTED("set_room", "SetRoom")
		"]}}")},
	{"Receivers",
	 OBJECT("'receivers'",
		"'receivers':{'type':'integer','minimum':0,'description':'connections that it was for'},"
		"'offset':{'type':'integer','minimum':1,'description':'in what the room remembers'},"
		"'epoch':" NUMBER
		",'version':{'type':'integer','minimum':1,'description':'that a set_room has given its "
		"room'}")},
	/* the host */
	{"Host", OBJECT("'version','run','draining','dead_letters','listen'",
			"'version':" TEXT ",'run':" TEXT ",'draining':" FLAG ",'dead_letters':" FLAG
			",'listen':" LIST(OBJECT("'address','tls'", "'address':" TEXT ",'tls':" FLAG)))},
	{"LogLines",
	 OBJECT("'lines'", "'lines':{'type':'array','items':{'type':'object','required':['time',"
			   "'level','kind','message']}}")},
	{"AdminUrl", OBJECT("'url'", "'url':" TEXT)},
	{"Alive", OBJECT("'alive'", "'alive':{'const':true}")},
	{"Ready", OBJECT("'ready','checks'",
			 "'ready':" FLAG ",'checks':" LIST(
				 OBJECT("'name','ok'", "'name':" TEXT ",'mount':" TEXT ",'ok':" FLAG
						       ",'reason':" TEXT)))},
	{"Mount", OBJECT("'path','handler','what','connections','rooms'",
			 "'path':" TEXT ",'handler':" TEXT ",'what':" TEXT ",'processes':" NUMBER
			 ",'deployed':" TIME ",'deploy_failed':" TIME ",'deploy_error':" TEXT
			 ",'connections':" NUMBER ",'rooms':" NUMBER)},
	{"Mounts", OBJECT("'mounts'", "'mounts':" LIST(REF("Mount")))},
	{"Worker",
	 OBJECT("'mount','name','state','attached','pid','generation','connections','under_way','settled'",
		"'mount':" TEXT ",'name':" TEXT
		",'state':{'enum':['new','pusher','starting','ready','draining','gone','launched','down']},"
		"'attached':" FLAG ",'pid':" NUMBER ",'generation':" NUMBER ",'connections':" NUMBER
		",'under_way':" NUMBER ",'unread':" NUMBER ",'settled':" NUMBER ",'starts':" NUMBER
		",'last_exit':" TEXT ",'next_start_ms':" NUMBER)},
	{"Workers", OBJECT("'workers'", "'workers':" LIST(REF("Worker")))},
	{"Setting",
	 OBJECT("'option','changes'",
		"'option':" TEXT ",'mount':" TEXT
		",'changes':{'enum':['at once','next worker','restart','-'],'description':'when a reload "
		"has another value of it hold'},"
		"'value':{'type':['string','integer','boolean','array','null'],'items':" TEXT
		"},'names':" LIST(TEXT))},
	{"Settings", OBJECT("'settings'", "'settings':" LIST(REF("Setting")))},
	{"Stats", OBJECT("'stats'", "'stats':{'type':'object','additionalProperties':" NUMBER "}")},
	{"Cluster",
	 OBJECT("'enabled'",
		"'enabled':" FLAG ",'id':" TEXT ",'prefix':" TEXT ",'engine':" TEXT ",'up':" FLAG
		",'why':" TEXT ",'away_ms':" NUMBER ",'away':{'enum':['hold','local']},'lag_us':" NUMBER
		",'waiting':" NUMBER ",'channels':" NUMBER ",'unconfirmed':" NUMBER ",'hosts':" NUMBER
		",'counts':{'type':'object','additionalProperties':" NUMBER "},'others':" LIST(OBJECT(
			"'id','run','machine','version','silent_ms','refused'",
			"'id':" TEXT ",'run':" TEXT ",'machine':" TEXT ",'version':" TEXT
			",'silent_ms':" NUMBER ",'refused':" FLAG)))},
	/* connections and rooms */
	{"Connection", OBJECT(OF_CONNECTION_NAMES, OF_CONNECTION)},
	{"Connections", PAGE("connections", "Connection")},
	{"ConnectionInFull",
	 OBJECT(OF_CONNECTION_NAMES ",'away','resumable','loop','tls','room_names','queue','lane'",
		OF_CONNECTION
		",'away':" FLAG ",'resumable':" FLAG ",'loop':" NUMBER
		",'tls':{'type':['object','null'],'properties':{'version':" TEXT ",'cipher':" TEXT
		"},'additionalProperties':false},'room_names':" LIST(TEXT) ",'queue':" OBJECT(
			"'stalled','waiting','unread','held','dropped'",
			"'stalled':" FLAG ",'waiting':" NUMBER ",'unread':" NUMBER ",'held':" NUMBER
			",'dropped':" NUMBER) ",'lane':" OBJECT("'with_handler','sequence','waiting','blame','paused'",
								"'with_handler':" FLAG
								",'sequence':" NUMBER
								",'waiting':" NUMBER
								",'blame':" NUMBER
								",'paused':" FLAG) SEEN)},
	{"Closed", OBJECT("'closed'", "'closed':{'const':1}")},
	{"Room",
	 OBJECT("'room','mount','members'", "'room':" ROOM ",'mount':" TEXT ",'members':" NUMBER)},
	{"Rooms", PAGE("rooms", "Room")},
	{"Member", OBJECT("'conn','user'", "'conn':" TEXT ",'user':" TEXT_OR_NULL ",'info':" TEXT)},
	{"Members", PAGE("members", "Member")},
	{"RoomUser", OBJECT("'user','connections'", "'user':" TEXT ",'connections':" NUMBER)},
	{"RoomUsers",
	 OBJECT("'anonymous','count','users'",
		"'anonymous':" NUMBER ",'count':" NUMBER ",'users':" LIST(REF("RoomUser"))
		",'next':" TEXT ",'unknown':" FLAG)},
	{"Remembered",
	 OBJECT("'offset','at'", "'offset':" NUMBER
				 ",'at':{'type':'integer','description':'ms since 1970'},'data':" TEXT
				 ",'data_base64':{'type':'string','description':'of a binary "
				 "message'}")},
	{"History", OBJECT("'epoch','first','last','complete','messages','more'",
			   "'epoch':" NUMBER ",'first':" NUMBER ",'last':" NUMBER ",'complete':" FLAG
			   ",'messages':" LIST(REF("Remembered")) ",'more':" FLAG)},
	{"RoomState",
	 OBJECT("'version'", "'version':{'type':'integer','minimum':0,'description':'0: nothing is kept'}"
			     ",'state':" TEXT ",'state_base64':{'type':'string','description':'of what is no UTF-8'}")},
	{"TraceLine",
	 OBJECT("",
		"'time':" TIME
		",'point':{'enum':['received','given','acknowledged','committed','failed','written']},"
		"'event':" TEXT ",'seq':" NUMBER ",'attempt':" NUMBER ",'bytes':" NUMBER
		",'commands':" NUMBER ",'to':" TEXT ",'error':" TEXT ",'mount':" TEXT
		",'conn':" TEXT ",'user':" TEXT ",'traceparent':" TEXT
		",'dropped':{'type':'integer','minimum':1,'description':'alone: so many lines were "
		"not read in time, and are missing here'}")},
	/* what is done to them */
	{"Reload", OBJECT("", "'mount':" TEXT ",'wait':" FLAG)},
	{"Reloaded",
	 OBJECT("'mounts'",
		"'changed':" NUMBER ",'waiting_for_a_restart':" NUMBER ",'error':" TEXT
		",'mounts':" LIST(OBJECT(
			"'mount','outcome'",
			"'mount':" TEXT
			",'outcome':{'enum':['unchanged','replaced','next connection','failed']},"
			"'error':" TEXT)))},
	{"Begun", OBJECT("", "'reloading':{'const':true},'draining':{'const':true}")},
	{"Drain", OBJECT("", "")},
	{"DeadLetters",
	 OBJECT("'dead_letters'",
		"'dead_letters':" LIST("{'type':'object','required':['id'],'properties':{'id':" TEXT
				       "}}") ",'left_out':" NUMBER)},
	{"Replay", OBJECT("", "'mount':" TEXT ",'id':" TEXT)},
	{"Replayed", OBJECT("'replayed','left'", "'replayed':" NUMBER ",'left':" NUMBER)},
	{"OpenApi", "{'type':'object'}"},
};
const size_t api_schemas_n = sizeof api_schemas / sizeof *api_schemas;

const struct api_parameter api_parameters[] = {
	{"mount", "of this mount; without, of all that the token may read", TEXT},
	{"room", "of this room", ROOM},
	{"user", "of this user", TEXT},
	{"address", "from this address or network, such as 192.0.2.0/24", TEXT},
	{"conn", "of this connection", TEXT},
	{"for", "seconds after which it ends; with a connection's end it does, too",
	 "{'type':'integer','minimum':0,'maximum':3600,'default':60}"},
	{"slow", "those alone that read too slowly", FLAG},
	{"limit", "items of a page",
	 "{'type':'integer','minimum':0,'maximum':10000,'default':100}"},
	{"cursor", "the next of the page before", TEXT},
	{"since", "those behind this offset", NUMBER},
	{"epoch", "of that offset", NUMBER},
	{"min_members", "rooms with as many members", NUMBER},
	{"code", "of the close frame",
	 "{'type':'integer','minimum':1000,'maximum':4999,'default':1000}"},
	{"reason", "in it", REASON},
	{"id", "of a connection", TEXT},
	{"which",
	 "errors and warnings, or requests and clients that were turned away",
	 "{'enum':['trouble','refused'],'default':'trouble'}"},
};
const size_t api_parameters_n = sizeof api_parameters / sizeof *api_parameters;
