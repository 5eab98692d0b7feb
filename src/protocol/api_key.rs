//! Every api key of Kafka 4.4, the versions that exist, and who serves them.

use std::fmt;

/// The versions of one API that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    pub min: i16,
    pub max: i16,
}

impl Versions {
    pub const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }
}

/// Which listeners of a Kafka node answer an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listeners {
    Broker,
    Controller,
    Both,
}

/// No version of the API is flexible (KIP-482).
const NEVER: i16 = i16::MAX;

macro_rules! api_keys {
    ($($key:literal $name:ident $min:literal $max:literal $flexible:tt $listeners:ident)*) => {
        /// An api key. Keys 4 to 7 are reserved and have no valid version: a request with one of them is answered by a close.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $($name = $key,)*
        }

        impl ApiKey {
            /// Every key, ascending.
            pub const ALL: &[ApiKey] = &[$(ApiKey::$name),*];

            pub const fn from_i16(key: i16) -> Option<ApiKey> {
                match key {
                    $($key => Some(ApiKey::$name),)*
                    _ => None,
                }
            }

            pub const fn name(self) -> &'static str {
                match self { $(ApiKey::$name => stringify!($name),)* }
            }

            /// The versions that this crate encodes and decodes: all stable ones of Kafka 4.4.
            pub const fn versions(self) -> Versions {
                match self { $(ApiKey::$name => Versions { min: $min, max: $max },)* }
            }

            pub const fn listeners(self) -> Listeners {
                match self { $(ApiKey::$name => Listeners::$listeners,)* }
            }

            /// First version with compact lengths and tagged fields (KIP-482).
            pub const fn flexible_from(self) -> i16 {
                match self { $(ApiKey::$name => api_keys!(@flexible $flexible),)* }
            }
        }
    };
    (@flexible never) => { NEVER };
    (@flexible $version:literal) => { $version };
}

// Key, name, lowest and highest version, first flexible version, listeners.
api_keys! {
    0 Produce 3 13 9 Broker
    1 Fetch 4 18 12 Both
    2 ListOffsets 1 11 6 Broker
    3 Metadata 0 13 9 Broker
    8 OffsetCommit 2 10 8 Broker
    9 OffsetFetch 1 10 6 Broker
    10 FindCoordinator 0 6 3 Broker
    11 JoinGroup 0 9 6 Broker
    12 Heartbeat 0 4 4 Broker
    13 LeaveGroup 0 5 4 Broker
    14 SyncGroup 0 5 4 Broker
    15 DescribeGroups 0 6 5 Broker
    16 ListGroups 0 5 3 Broker
    17 SaslHandshake 0 1 never Both
    18 ApiVersions 0 5 3 Both
    19 CreateTopics 2 7 5 Both
    20 DeleteTopics 1 6 4 Both
    21 DeleteRecords 0 2 2 Broker
    22 InitProducerId 0 5 2 Broker
    23 OffsetForLeaderEpoch 2 4 4 Broker
    24 AddPartitionsToTxn 0 5 3 Broker
    25 AddOffsetsToTxn 0 4 3 Broker
    26 EndTxn 0 5 3 Broker
    27 WriteTxnMarkers 1 2 1 Broker
    28 TxnOffsetCommit 0 6 3 Broker
    29 DescribeAcls 1 3 2 Both
    30 CreateAcls 1 3 2 Both
    31 DeleteAcls 1 3 2 Both
    32 DescribeConfigs 1 4 4 Both
    33 AlterConfigs 0 2 2 Both
    34 AlterReplicaLogDirs 1 2 2 Broker
    35 DescribeLogDirs 1 5 2 Broker
    36 SaslAuthenticate 0 2 2 Both
    37 CreatePartitions 0 3 2 Both
    38 CreateDelegationToken 1 3 2 Both
    39 RenewDelegationToken 1 2 2 Both
    40 ExpireDelegationToken 1 2 2 Both
    41 DescribeDelegationToken 1 3 2 Both
    42 DeleteGroups 0 3 2 Broker
    43 ElectLeaders 0 2 2 Both
    44 IncrementalAlterConfigs 0 1 1 Both
    45 AlterPartitionReassignments 0 1 0 Both
    46 ListPartitionReassignments 0 0 0 Both
    47 OffsetDelete 0 0 never Broker
    48 DescribeClientQuotas 0 1 1 Broker
    49 AlterClientQuotas 0 1 1 Both
    50 DescribeUserScramCredentials 0 0 0 Both
    51 AlterUserScramCredentials 0 0 0 Both
    52 Vote 0 2 0 Controller
    53 BeginQuorumEpoch 0 1 1 Controller
    54 EndQuorumEpoch 0 1 1 Controller
    55 DescribeQuorum 0 2 0 Both
    56 AlterPartition 2 3 0 Controller
    57 UpdateFeatures 0 2 0 Both
    58 Envelope 0 0 0 Controller
    59 FetchSnapshot 0 1 0 Controller
    60 DescribeCluster 0 2 0 Both
    61 DescribeProducers 0 0 0 Broker
    62 BrokerRegistration 0 4 0 Controller
    63 BrokerHeartbeat 0 2 0 Controller
    64 UnregisterBroker 0 0 0 Both
    65 DescribeTransactions 0 0 0 Broker
    66 ListTransactions 0 2 0 Broker
    67 AllocateProducerIds 0 0 0 Controller
    68 ConsumerGroupHeartbeat 0 1 0 Broker
    69 ConsumerGroupDescribe 0 1 0 Broker
    70 ControllerRegistration 0 0 0 Controller
    71 GetTelemetrySubscriptions 0 0 0 Broker
    72 PushTelemetry 0 0 0 Broker
    73 AssignReplicasToDirs 0 0 0 Controller
    74 ListConfigResources 0 1 0 Broker
    75 DescribeTopicPartitions 0 0 0 Broker
    76 ShareGroupHeartbeat 1 1 0 Broker
    77 ShareGroupDescribe 1 1 0 Broker
    78 ShareFetch 1 2 0 Broker
    79 ShareAcknowledge 1 2 0 Broker
    80 AddRaftVoter 0 1 0 Both
    81 RemoveRaftVoter 0 0 0 Both
    82 UpdateRaftVoter 0 0 0 Controller
    83 InitializeShareGroupState 0 0 0 Broker
    84 ReadShareGroupState 0 0 0 Broker
    85 WriteShareGroupState 0 1 0 Broker
    86 DeleteShareGroupState 0 0 0 Broker
    87 ReadShareGroupStateSummary 0 1 0 Broker
    88 StreamsGroupHeartbeat 0 1 0 Broker
    89 StreamsGroupDescribe 0 1 0 Broker
    90 DescribeShareGroupOffsets 0 1 0 Broker
    91 AlterShareGroupOffsets 0 0 0 Broker
    92 DeleteShareGroupOffsets 0 0 0 Broker
    93 StreamsGroupTopologyDescriptionUpdate 0 0 0 Broker
    94 UnregisterController 0 0 0 Both
}

impl ApiKey {
    pub const fn code(self) -> i16 {
        self as i16
    }

    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.flexible_from()
    }

    pub const fn on_broker_listener(self) -> bool {
        !matches!(self.listeners(), Listeners::Controller)
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
