<?php
/**
 * Leanbase for PHP 7.4 and later, by way of the relay on this machine. Needs nothing: copy it.
 *
 *     Leanbase::capture(array('distinctId' => 'user-1', 'event' => 'order placed',
 *                             'properties' => array('total' => 12.5)));
 *
 * An event goes to the relay's socket, and the call waits, within bounds, until it is stored; where
 * that cannot be had it becomes a file in the spool directory. Its uuid and timestamp are made here:
 * where it took both ways, the upstream keeps one. Nothing is thrown; each call returns whether the
 * event is kept, and Leanbase::$last tells more. Invalid UTF-8 becomes U+FFFD; NAN, INF and what is
 * nested deeper than 100 levels null; a DateTime ISO 8601.
 */
final class Leanbase
{
    /** array('stored' | 'spooled' | 'refused' | 'lost', the event's uuid, why it is not stored) */
    public static $last = array('', '', '');

    private static $options = array(
        'project' => null,       // one that the relay's configuration names; null: its `default`
        'socket' => '/run/leanbase-relay/relay.sock',
        'spool' => '/var/spool/leanbase-relay',
        'connect_timeout' => 0.05,
        'timeout' => 1.0,        // for `stored`; in seconds, as all of them
        'rest' => 5.0,           // in which a relay that did not answer in time is not asked
    );
    private static $notBefore = 0.0;

    /** Takes what the SDK's takes, and the options above. Key and host are the relay's business. */
    public static function init($apiKey = null, $options = array())
    {
        self::$options = array_intersect_key((array) $options, self::$options) + self::$options;
    }

    /** event, distinctId (none: nobody's), properties, groups, $set, $set_once, timestamp, uuid */
    public static function capture(array $message)
    {
        $given = (array) ($message['properties'] ?? array());
        if (!isset($message['distinctId'])) {
            $message['distinctId'] = self::uuid();
            $given['$process_person_profile'] = false;
        }
        return self::send($message['event'] ?? null, $message, $given);
    }

    /** distinctId, properties: what the person has */
    public static function identify(array $message)
    {
        return self::send('$identify', $message, array('$set' => (object) ($message['properties'] ?? array())));
    }

    /** distinctId, alias: the other id, whose events are distinctId's from now on */
    public static function alias(array $message)
    {
        $both = array('distinct_id' => $message['distinctId'] ?? null, 'alias' => $message['alias'] ?? null);
        return self::send('$create_alias', $message, $both);
    }

    /** groupType, groupKey, properties: what the group has */
    public static function groupIdentify(array $message)
    {
        $given = array('$group_type' => $message['groupType'] ?? null, '$group_key' => $message['groupKey'] ?? null);
        $message += array('distinctId' => '$' . implode('_', $given));
        return self::send('$groupidentify', $message, $given + array('$group_set' => (object) ($message['properties'] ?? array())));
    }

    /** For the SDK's sake: nothing waits here. */
    public static function flush()
    {
        return true;
    }

    private static function send($event, array $message, array $given)
    {
        foreach (array('groups' => '$groups', '$groups' => '$groups', '$set' => '$set', '$set_once' => '$set_once') as $name => $property) {
            $given += empty($message[$name]) ? array() : array($property => $message[$name]);
        }
        $uuid = empty($message['uuid']) ? self::uuid() : $message['uuid'];
        $at = empty($message['timestamp']) ? microtime(true) : $message['timestamp'];
        $line = json_encode(self::plain(array(
            'event' => $event,
            'distinct_id' => $message['distinctId'] ?? null,
            'uuid' => $uuid,
            'timestamp' => is_int($at) || is_float($at)
                ? gmdate('Y-m-d\TH:i:s', (int) $at) . sprintf('.%03dZ', (int) (1000 * fmod($at, 1))) : $at,
            'properties' => (object) ($given + array('$lib' => 'leanbase-relay', '$lib_version' => '0.1.0')),
        ) + array_filter(array('project' => self::$options['project']))), JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE
            | JSON_PRESERVE_ZERO_FRACTION | JSON_INVALID_UTF8_SUBSTITUTE | JSON_PARTIAL_OUTPUT_ON_ERROR) . "\n";
        try {
            $why = self::offer($line);
            $became = $why === '' ? 'stored' : 'refused';
        } catch (Throwable $away) { // an error handler that heeds no @ throws, too
            $why = $away->getMessage();
            try {
                self::spool($line, self::$options['spool']);
                $became = 'spooled';
            } catch (Throwable $error) {
                $why .= '; ' . $error->getMessage();
                $became = 'lost';
                self::$last[0] === 'lost' || error_log("leanbase: event $uuid is lost: $why"); // the first of a row
            }
        }
        self::$last = array($became, $uuid, $why);
        return $became === 'stored' || $became === 'spooled';
    }

    /** Hands a line to the relay; says why it was refused, if it was. Throws where no answer counts. */
    private static function offer($line)
    {
        if (microtime(true) < self::$notBefore) {
            throw new RuntimeException('the relay did not answer in time a moment ago');
        }
        $socket = @stream_socket_client('unix://' . self::$options['socket'], $code, $why, self::$options['connect_timeout']);
        if (!$socket) {
            throw new RuntimeException(self::$options['socket'] . ": $why");
        }
        $until = microtime(true) + self::$options['timeout'];
        stream_set_timeout($socket, 0, (int) (1e6 * self::$options['timeout']));
        while ($line !== '' && ($sent = @fwrite($socket, $line)) > 0) {
            $line = (string) substr($line, $sent);
        }
        $said = 'the relay hung up before it answered';
        while (microtime(true) < $until && ($reply = @fgets($socket)) !== false) {
            $reply = json_decode($reply, true);
            $said = $reply['error'] ?? $said;
            if (!empty($reply['stored'])) {
                return '';
            }
            if (!empty($reply['refused'])) {
                if (preg_match('/^(store full|store unavailable|the relay is stopping)/', $said)) {
                    throw new RuntimeException($said); // it kept nothing; what it refuses it keeps as a dead letter
                }
                return $said;
            }
        }
        if (microtime(true) >= $until) {
            self::$notBefore = microtime(true) + self::$options['rest'];
            $said = self::$options['socket'] . ': no answer in time';
        }
        throw new RuntimeException($said);
    }

    /** Makes a file of it, which has its name once it is whole and, since PHP 8.1, on the disk. */
    private static function spool($line, $spool)
    {
        $sync = function ($file) {
            return !function_exists('fsync') || fsync($file);
        };
        $name = 'php-' . bin2hex(random_bytes(16));
        $file = @fopen("$spool/.$name.tmp", 'x');
        $whole = $file && @fwrite($file, $line) === strlen($line) && fflush($file) && $sync($file);
        if (!$whole || !chmod("$spool/.$name.tmp", 0644) || !@rename("$spool/.$name.tmp", "$spool/$name.jsonl")) {
            $why = error_get_last()['message'] ?? "cannot write to $spool";
            @unlink("$spool/.$name.tmp");
            throw new RuntimeException($why);
        }
        ($directory = @fopen($spool, 'r')) && $sync($directory); // its name, too
    }

    /** What JSON has in place of a value that it may not have. */
    private static function plain($value, $levels = 100)
    {
        if ($value instanceof DateTimeInterface) {
            return $value->format('Y-m-d\TH:i:s.uP');
        }
        if ($value instanceof BackedEnum) {
            return $value->value;
        }
        if ($value instanceof JsonSerializable && $levels > 0) {
            try {
                return self::plain($value->jsonSerialize(), $levels - 1);
            } catch (Throwable $error) { // it is the app's own code that runs here
                return get_class($value);
            }
        }
        if ((is_array($value) || is_object($value)) && $levels > 0) {
            $plain = array(); // a new one: the app's may hold references
            foreach (is_object($value) ? get_object_vars($value) : $value as $name => $each) {
                $plain[$name] = self::plain($each, $levels - 1);
            }
            return is_object($value) ? (object) $plain : $plain;
        }
        return is_scalar($value) && !(is_float($value) && !is_finite($value)) ? $value : null;
    }

    /** Version 7 of RFC 9562: of time and chance; ids sort by their age. */
    private static function uuid()
    {
        $hex = sprintf('%012x', (int) (1000 * microtime(true))) . bin2hex(random_bytes(10));
        $hex[12] = '7';
        $hex[16] = '89ab'[hexdec($hex[16]) % 4];
        return preg_replace('/^(.{8})(.{4})(.{4})(.{4})/', '$1-$2-$3-$4-', $hex);
    }
}
