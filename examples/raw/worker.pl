#!/usr/bin/perl
# The chat of plugins/chat.c as a worker, with nothing but what comes with Perl: sdk/PROTOCOL.md is all one needs.
#   tova-host --worker examples/raw/worker.pl --static examples/chat
use v5.32;
use warnings;
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP;

my $json = JSON::PP->new->utf8->canonical;

# --- messages: a handshake of 8 bytes, then length and body each ------------------------------------------------------------------
my ($kind, $address) = ($ENV{TOVA_URL} // die "no TOVA_URL\n") =~ m{^(ipc|tcp)://(.+)$} or die "only ipc:// and tcp://\n";
my $host = $kind eq 'ipc' ? IO::Socket::UNIX->new(Peer => $address) : IO::Socket::INET->new(PeerAddr => $address);
$host // die "$address: $!\n";

sub bytes {    # exactly n of them; the host's end is ours
	my ($n) = @_;
	my $data = '';
	while (length $data < $n) {
		my $got = sysread $host, $data, $n - length $data, length $data;
		exit 0 if !$got;
	}
	return $data;
}

sub put {
	my ($data) = @_;
	while (length $data) {
		my $n = syswrite($host, $data) // exit 1;
		substr $data, 0, $n, '';
	}
}

sub put_batch {
	my $body = $json->encode([@_]);
	put(($kind eq 'ipc' ? "\1" : '') . pack('Q>', length $body) . $body);
}

sub get_batch {
	bytes(1) if $kind eq 'ipc';
	my $body = bytes(unpack 'Q>', bytes(8));
	my ($objects, $used) = $json->decode_prefix($body);
	my $binary = substr $body, $used;
	substr $binary, 0, 1, '';    # the line feed
	for my $o (@$objects) {
		for ([state_bin => 'state'], [bin => 'data']) {
			my ($count, $member) = @$_;
			$o->{$member} = substr $binary, 0, $o->{$count}, '' if exists $o->{$count};
		}
	}
	return @$objects;
}

# --- the chat: each function returns the commands that answer an event -------------------------------------------------------------
sub to_self { return {c => 'send', data => JSON::PP->new->canonical->encode({@_})} }
sub to_room { my $room = shift; return {%{to_self(@_)}, c => 'broadcast_to', room => $room, exclude => JSON::PP::true} }

sub opened {
	return {c => 'join', room => 'general'}, to_room('general', type => 'system', text => 'A new user joined'),
		to_self(type => 'system', text => 'Welcome to the chat!');
}

sub message {
	my ($event) = @_;
	my $said = eval { (exists $event->{bin} ? $json : JSON::PP->new)->decode($event->{data}) };
	return to_self(type => 'error', text => 'A message is a JSON object') if ref $said ne 'HASH';
	my ($type, $room) = ($said->{type} // '', $said->{room});
	if ($type eq 'chat') {
		return to_self(type => 'error', text => 'A chat message needs user and text') if grep { !defined || ref } @$said{qw(user text)};
		return to_room($room // 'general', type => 'chat', (map { $_ => $said->{$_} } grep { defined $said->{$_} } qw(user text room)));
	}
	return to_self(type => 'error', text => 'Unknown message type') if $type ne 'join_room' || !defined $room;
	return {c => 'leave', room => 'general'}, {c => 'join', room => $room}, to_self(type => 'system', text => "Joined room: $room");
}

my %handle = (
	open    => \&opened,
	message => \&message,
	close   => sub { to_room('general', type => 'system', text => 'A user left the chat') },
	error   => sub { to_self(type => 'error', text => $_[0]{error}) },
);

# --- the conversation --------------------------------------------------------------------------------------------------------------
put("\0SP\0\0\x10\0\0");
die "that is no host\n" if bytes(8) ne "\0SP\0\0\x10\0\0";
put_batch({t => 'hello', v => 1, token => $ENV{TOVA_TOKEN} // '', events => [sort keys %handle], name => "perl $$"});
my $link;
while (1) {
	my @answers;
	for my $o (get_batch()) {
		my $t = $o->{t};
		$link = $o->{link} if $t eq 'welcome';
		die $o->{error} // '', "\n" if $t eq 'bye' && exists $o->{error};
		push @answers, {t => 'pong'} if $t eq 'ping';
		push @answers, {t => 'bye'}  if $t eq 'drain';    # all is acknowledged; the host closes, which ends us
		push @answers, {t => 'ack', s => $o->{s}, commands => [$handle{$t}->($o)]} if $handle{$t};
	}
	$answers[0]{link} = $link if @answers;
	put_batch(@answers) if @answers;
}
